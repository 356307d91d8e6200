"""Everything that touches ComfyUI: the only package that imports comfy, folder_paths or server."""
