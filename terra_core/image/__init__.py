"""Images as trees of files: applying layers to a root directory, and looking at an image before anything is made of it.

:func:`apply_layers` takes an :class:`terra_core.oci.ImageSource`, such as :meth:`terra_core.oci.Layout.image` of a directory.
What was applied is verified when that returns, and nothing outside of the root changes, whatever the layers hold.
Slow to import: import it where it is used.
"""

from terra_core.image.apply import Applied, apply_layers

__all__ = ["Applied", "apply_layers"]
