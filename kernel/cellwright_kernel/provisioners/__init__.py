"""How the sandbox's kernel is started: jupyter_client finds what is here by its entry point, nobody imports it."""
