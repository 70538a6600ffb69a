"""The audit notebook: a run as cells that anybody can read and run again."""
