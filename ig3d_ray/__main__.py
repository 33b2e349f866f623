"""`python -m ig3d_ray`, the same as `ig3d`."""

from ig3d_ray.cli.app import main

if __name__ == "__main__":
    main()
