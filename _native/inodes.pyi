"""Files as they were when a program opened them, and the question whether they still are: one lstat(2) each."""

class Inodes:
    """Remembers device, inode and link count of files and directories. Nothing of it is ever stored."""

    def __init__(self) -> None: ...
    def watch(self, path: bytes, label: str, grows: bool = False, first: bool = False) -> None:
        """Remember what is at a path now.

        Args:
            path: absolute; its last component is not followed where it is a symbolic link.
            label: how `problem` names it.
            grows: whether a smaller size than before is a problem too.
            first: whether every `glance` looks at it; such files are named before the others.

        Raises:
            OSError: nothing can be looked at there.
        """

    def problem(self) -> str | None:
        """What is first found to be otherwise than it was remembered, or None."""

    def glance(self) -> str | None:
        """As `problem`, of those named `first` and of one other, the next in turn."""
