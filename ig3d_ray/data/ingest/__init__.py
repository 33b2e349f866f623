"""From a publisher's files to a samples table: folder layouts, label lists, files of 3D parameters."""
