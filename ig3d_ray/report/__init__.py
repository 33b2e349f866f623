"""Reports of a search: HTML page, figures, terminal tables, MLflow.

`Findings` are the numbers, `report_page` the HTML page.
It loads neither torch nor Ray.
"""
