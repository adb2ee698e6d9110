"""Pictures as inline SVG: frames in, one function a picture; what they share is in `drawing`."""
