"""The command line: one module per command.

`app` puts the commands together; what is heavy is imported by the command that needs it.
"""
