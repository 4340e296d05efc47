"""What a boundary loads when it first needs it: `import briefcase.client` waits for none of it.

The connections take a hundred milliseconds to import, the proof over TCP another hundred, a signature's reading ten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import inspect

    from briefcase.adapters.disk import data_dir
    from briefcase.edges.client import async_boundary, declared, link, proof
else:
    from importlib import import_module

    _MODULES = {
        "async_boundary": "briefcase.edges.client.async_boundary",
        "data_dir": "briefcase.adapters.disk.data_dir",
        "declared": "briefcase.edges.client.declared",
        "inspect": "inspect",
        "link": "briefcase.edges.client.link",
        "proof": "briefcase.edges.client.proof",
    }

    def __getattr__(name: str) -> object:
        """The module that `name` stands for, imported by its first use."""
        if name not in _MODULES:
            raise AttributeError(name)
        return import_module(_MODULES[name])


__all__ = ["async_boundary", "data_dir", "declared", "inspect", "link", "proof"]
