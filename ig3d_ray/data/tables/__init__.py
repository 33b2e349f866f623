"""Files of tables to columns, numbers and classes: the forms in which people have them."""
