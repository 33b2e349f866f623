"""External models: their predictions, and their checkpoints as members.

`import_predictions` fills the logit cache from files; `import_checkpoint` recognizes a published network.
It loads torch only for checkpoints.
"""
