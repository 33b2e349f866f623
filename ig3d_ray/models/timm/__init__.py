"""Any image network of timm."""
