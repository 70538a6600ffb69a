"""What runs inside the sandbox before IPython: standard library only, in whatever Python the kernelspec names."""
