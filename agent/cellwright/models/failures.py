"""What a provider's failure means: whether a second try may help, how long to wait, and why, in one line."""

from __future__ import annotations


def is_passing(error: BaseException) -> bool:
    """True for failures that a second try may not meet: overload, timeouts, lost connections."""
    import openai

    if isinstance(error, openai.APIConnectionError):  # timeouts too
        return True
    status = getattr(error, "status_code", None)
    return (
        isinstance(error, openai.OpenAIError)
        and isinstance(status, int)
        and (status in (408, 409, 429) or status >= 500)
    )


def retry_after(error: BaseException | None) -> float:
    """Seconds that the provider asks to wait; 0 when it says nothing readable."""
    response = getattr(error, "response", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None) or {}
    try:
        return max(0.0, float(headers.get("retry-after", 0)))
    except ValueError:
        return 0.0  # a date: the backoff will do


def reason(error: Exception) -> str:
    """litellm's message without the class names it is wrapped in."""
    text = str(getattr(error, "message", "") or error)
    while True:
        head, colon, rest = text.partition(": ")
        if not colon or " " in head or not head.endswith(("Error", "Exception", "Timeout")):
            return text
        text = rest
