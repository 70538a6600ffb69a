"""Where settings come from, which model they lead to, and what doctor says of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from cellwright.doctor import examine
from cellwright.errors import ConfigError, ModelFileError, ModelKeyError, NoModel, UnknownModel, UsageError
from cellwright.models import choice, rates
from cellwright.models.embedded import EmbeddedModel
from cellwright.models.fallback import FallbackModel
from cellwright.models.providers import LiteLLMModel, loaded_litellm
from cellwright.settings import Settings, gather
from fake_provider import FakeProvider


@pytest.fixture(autouse=True)
def clean(tmp_path: Path) -> Iterator[Path]:
    """An empty folder as the current one, and an environment without keys, settings or a local server."""
    saved, cwd = dict(os.environ), Path.cwd()
    for name in list(os.environ):
        if name.startswith("CELLWRIGHT_") or name.endswith("_API_KEY"):
            del os.environ[name]
    os.environ.update(
        JUPYTER_CONFIG_DIR=str(tmp_path / "jupyter"),
        OLLAMA_HOST="127.0.0.1:9",
        CELLWRIGHT_MODELS=str(tmp_path / "models"),
        CELLWRIGHT_JOURNAL=str(tmp_path / "journal.sqlite"),
    )
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(saved)


def write_config(folder: Path, **said: object) -> Path:
    path = folder / "jupyter" / "jupyter_config.d" / "cellwright.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"Cellwright": said}))
    return path


def test_nothing_said_means_defaults() -> None:
    assert gather() == Settings()


def test_a_flag_beats_the_environment_and_that_the_config(clean: Path) -> None:
    path = write_config(clean, model="a/config", max_steps=3, budget=0.5, instructions="Be brief.")
    os.environ["CELLWRIGHT_MODEL"] = "b/environment"
    os.environ["CELLWRIGHT_MAX_STEPS"] = "4"
    settings = gather({"model": "c/flag", "max_steps": None})
    assert settings.model == "c/flag"
    assert settings.limits.steps == 4
    assert settings.limits.cost == 0.5
    assert settings.instructions == "Be brief."
    assert settings.sources == {
        "model": "--model", "max_steps": "CELLWRIGHT_MAX_STEPS", "budget": str(path), "instructions": str(path)
    }  # fmt: skip


def test_python_config_and_the_shells_config_count(clean: Path) -> None:
    (clean / "jupyter").mkdir()
    (clean / "jupyter" / "jupyter_config.py").write_text("c.Cellwright.model = 'a/py'\nc.Cellwright.max_seconds = 9\n")
    config = Config()
    config.Cellwright.model = "b/shell"
    settings = gather(config=config)
    assert settings.model == "b/shell"
    assert settings.limits.seconds == 9


def test_dotenv_gives_keys_and_settings_but_overrides_nothing(clean: Path) -> None:
    os.environ["OPENAI_API_KEY"] = "mine"
    (clean / ".env").write_text(
        "OPENAI_API_KEY=other\nMISTRAL_API_KEY=m\nCELLWRIGHT_MODEL=a/dotenv\nDATABASE_PASSWORD=p\n"
    )
    assert gather().model == "a/dotenv"
    assert os.environ["OPENAI_API_KEY"] == "mine"
    assert os.environ["MISTRAL_API_KEY"] == "m"
    assert "DATABASE_PASSWORD" not in os.environ


def test_none_lifts_a_limit() -> None:
    os.environ["CELLWRIGHT_BUDGET"] = "none"
    assert gather().limits.cost is None


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"max_steps": "many"}, r"max_steps must be a whole number|max_steps must be a number"),
        ({"max_steps": 2.5}, "max_steps must be a whole number"),
        ({"budget": -1}, "more than 0"),
        ({"model": 7}, "model must be text"),
        ({"modle": "x"}, "did you mean 'model'"),
        ({"max_seconds": True}, "max_seconds must be a number"),
    ],
)
def test_a_wrong_value_names_its_place(clean: Path, said: dict[str, object], message: str) -> None:
    path = write_config(clean, **said)
    with pytest.raises(ConfigError, match=message) as caught:
        gather()
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_broken_config_files_are_one_line(clean: Path) -> None:
    write_config(clean).write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        gather()
    (clean / "jupyter" / "jupyter_config.d" / "cellwright.json").write_text("{}")
    (clean / "jupyter" / "jupyter_config.py").write_text("1 / 0")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        gather()


def test_a_wrong_flag_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--budget"):
        gather({"budget": -1.0})


async def test_a_key_decides_the_model() -> None:
    os.environ["ANTHROPIC_API_KEY"] = "k"
    chosen = await choice.choose()
    assert chosen.model.name.startswith("anthropic/claude-")
    assert chosen.why == "ANTHROPIC_API_KEY is set"


async def test_every_default_is_known_to_the_installed_litellm() -> None:
    litellm = await loaded_litellm()
    for variable in choice.DEFAULTS:
        name = choice.default_model(litellm, variable)
        assert litellm.get_llm_provider(name)[1]
        assert name.startswith("openrouter/") or {name, name.partition("/")[2]} & litellm.model_cost.keys(), name


async def test_nothing_found_says_three_ways_on() -> None:
    with pytest.raises(NoModel, match=r"model pull.*ANTHROPIC_API_KEY.*--model"):
        await choice.choose()


async def test_wrong_names_are_refused_without_asking_anybody() -> None:
    with pytest.raises(UnknownModel, match="did you mean 'embedded'"):
        await choice.choose("embeded")
    with pytest.raises(UnknownModel):
        await choice.choose("  ")
    with pytest.raises(ModelKeyError, match="OPENAI_API_KEY"):
        await choice.choose("openai/gpt-5")
    with pytest.raises(ModelFileError, match="cellwright model pull"):
        await choice.choose("embedded")


def test_creating_the_embedded_model_starts_nothing() -> None:
    assert isinstance(choice.create("embedded"), EmbeddedModel)


@pytest.mark.parametrize(
    ("said", "address"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0:1234", "http://127.0.0.1:1234"),
        ("box", "http://box:11434"),
        ("https://box.example", "https://box.example"),
    ],
)
def test_ollamas_address_is_read_as_ollama_reads_it(said: str, address: str) -> None:
    os.environ["OLLAMA_HOST"] = said
    assert choice.ollama_host() == address


async def test_doctor_names_keys_and_never_shows_them() -> None:
    os.environ["OPENAI_API_KEY"] = "sk-secret"
    checks = {check.name: check for check in await examine(gather())}
    assert checks["model"].ok
    assert "OPENAI_API_KEY is set" in checks["model"].detail
    assert checks["keys"].detail == "set: OPENAI_API_KEY"
    assert checks["embedded model"].ok is None
    assert checks["journal"].ok
    assert "auto, network none" in checks["isolation"].detail
    unfenced = {check.name: check for check in await examine(gather({"isolation": "process"}))}
    assert "not isolated" in unfenced["isolation"].detail
    assert "sk-secret" not in repr(checks)


async def test_doctor_says_what_to_do_without_a_model(clean: Path) -> None:
    (clean / "file").write_text("in the way")
    os.environ["CELLWRIGHT_JOURNAL"] = str(clean / "file" / "journal.sqlite")
    checks = {check.name: check for check in await examine(gather())}
    assert checks["model"].ok is False
    assert "model pull" in checks["model"].fix
    assert checks["journal"].ok is False


# ---- isolation ------------------------------------------------------------------------------------------------------


def test_isolation_is_on_without_a_word(clean: Path) -> None:
    isolation = gather().isolation
    assert (isolation.level, isolation.network, isolation.memory) == ("auto", "none", 2 << 30)


def test_isolation_is_set_like_everything_else(clean: Path) -> None:
    write_config(clean, memory="4GiB", read=[str(clean)])
    os.environ["CELLWRIGHT_NETWORK"] = "host"
    isolation = gather({"isolation": "bwrap", "processes": "none", "file_size": "500MB"}).isolation
    assert (isolation.level, isolation.network, isolation.memory) == ("bwrap", "host", 4 << 30)
    assert (isolation.processes, isolation.file_size, isolation.read) == (None, 500_000_000, (clean,))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"isolation": "bwarp"}, "--isolation: Isolation level must be one of auto, bwrap, landlock, process; did you"),
        ({"isolation": ""}, "--isolation: Isolation level must be one of"),
        ({"network": "all"}, "--network: Isolation network must be one of none, host."),
        ({"memory": "0"}, "--memory: Limit memory must be more than 0, not 0; None lifts it."),
        (
            {"memory": "much"},
            "--memory: memory must be a size such as 500MB or 2GiB, or none to lift the limit, not 'much'.",
        ),
        ({"memory": "-1GiB"}, "--memory: "),
        ({"tmp_size": "none"}, "--tmp-size: "),
        ({"processes": "many"}, "--processes: processes must be a number, or none to lift the limit, not 'many'."),
        ({"processes": "1.5"}, "--processes: processes must be a whole number"),
        ({"read": ("no/such/folder",)}, "--read: read must be paths that exist (no/such/folder does not)"),
    ],
)
def test_a_wrong_word_about_isolation_is_one_line(clean: Path, flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as error:
        gather(flags)
    assert str(error.value).startswith(said)
    assert "\n" not in str(error.value)


# ---- rate -----------------------------------------------------------------------------------------------------------


def test_requests_per_minute_are_set_like_everything_else(clean: Path) -> None:
    assert gather().requests_per_minute is None
    path = write_config(clean, requests_per_minute=30)
    assert gather().sources == {"requests_per_minute": str(path)}
    assert gather().requests_per_minute == 30
    config = Config()
    config.Cellwright.requests_per_minute = 25
    assert gather(config=config).requests_per_minute == 25
    os.environ["CELLWRIGHT_REQUESTS_PER_MINUTE"] = "20"
    assert gather(config=config).requests_per_minute == 20
    assert gather({"requests_per_minute": "10"}).requests_per_minute == 10
    assert gather({"requests_per_minute": "none"}).requests_per_minute is None


@pytest.mark.parametrize("value", ["0", "-3"])
def test_a_rate_of_nothing_is_one_line(value: str) -> None:
    said = f"--requests-per-minute: requests_per_minute must be 1 or more, or none to lift the limit, not '{value}'."
    with pytest.raises(UsageError) as caught:
        gather({"requests_per_minute": value})
    assert str(caught.value) == said


def test_a_rate_that_was_said_holds_for_all_models_of_that_name_until_another_is_said() -> None:
    first, again, other = (LiteLLMModel(f"openai/{name}-of-settings") for name in ("a", "a", "b"))
    both = FallbackModel(first, EmbeddedModel(), other)
    rates.as_set(both, gather({"requests_per_minute": "7"}))
    assert [model.limiter.requests_per_minute for model in (first, again, other)] == [7, 7, 7]
    rates.as_set(first, gather())  # nothing is said, so nothing is changed
    rates.as_set(other, gather({"requests_per_minute": "none"}))
    assert (again.limiter.requests_per_minute, other.limiter.requests_per_minute) == (7, None)


@pytest.mark.parametrize(("words", "status", "requests"), [((), 0, 2), (("--requests-per-minute", "1"), 1, 1)])
async def test_a_rate_holds_a_run_of_the_command_line_back(
    clean: Path, words: tuple[str, ...], status: int, requests: int
) -> None:
    def two_steps(request: dict[str, Any]) -> str:
        has_begun = any(message["role"] == "assistant" for message in request["messages"])
        return f"Go.\n```python\n{'final_answer(1)' if has_begun else 'print(1)'}\n```"

    command = [str(Path(sys.executable).with_name("cellwright")), "run", "Count.", "--model", "openai/rated", *words]
    async with FakeProvider(reply=two_steps) as provider:
        access = {"OPENAI_API_KEY": "k", "OPENAI_API_BASE": provider.base_url, "OPENAI_BASE_URL": provider.base_url}
        process = await asyncio.create_subprocess_exec(
            *command, "--max-seconds", "12", env={**os.environ, **access}, stdout=asyncio.subprocess.DEVNULL
        )
        assert await asyncio.wait_for(process.wait(), 60) == status
    assert len(provider.requests) == requests  # the second would have been sent after a minute
