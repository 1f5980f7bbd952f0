"""What the first cell of a notebook for Colab runs: `tools.colab` writes it there, with a payload.

Only the function is copied, so it imports what it needs by itself.
"""

from __future__ import annotations


def set_up(payload: str, checksum: str) -> None:
    """Unpack a payload below the temporary folder and put that place on Python's path.

    Each file is compared first, so a second run, another kernel at the same time or a folder that
    the system has cleaned do no harm.

    Args:
        payload: a tar archive, compressed by xz, as base 85.
        checksum: the SHA-256 of the archive.

    Raises:
        ValueError: the payload is damaged.
        PermissionError: the place belongs to another user.
        RuntimeError: this session has imported another teachkit.
    """
    import base64
    import hashlib
    import importlib
    import io
    import os
    import sys
    import tarfile
    import tempfile
    from pathlib import Path

    try:
        packed = base64.b85decode("".join(payload.split()))
    except ValueError:
        packed = b""
    if hashlib.sha256(packed).hexdigest() != checksum:
        raise ValueError("This notebook's first cell was altered or cut short: get the file again.")
    user = os.getuid() if hasattr(os, "getuid") else None  # Windows has a folder for each user
    home = Path(tempfile.gettempdir()).resolve() / f"teachkit-{checksum[:16]}-{user or 0}"
    if "teachkit" in sys.modules:
        loaded = Path(str(sys.modules["teachkit"].__file__)).resolve()
        if home not in loaded.parents:
            raise RuntimeError(
                f"This session has imported another teachkit, from {loaded.parent}: restart it "
                "(Runtime > Restart session on Colab, Kernel > Restart Kernel in JupyterLab), "
                "then run this cell first."
            )
    home.mkdir(mode=0o700, exist_ok=True)
    if user is not None and home.stat().st_uid != user:
        raise PermissionError(f"{home} belongs to another user: ask them to remove it.")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:xz") as archive:
        for member in archive:
            file = archive.extractfile(member)
            path, content = home / member.name, file.read() if file else b""
            if path.is_file() and path.read_bytes() == content:
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=path.parent)
            with os.fdopen(handle, "wb") as target:
                target.write(content)
            try:
                os.replace(draft, path)  # whole or not at all
            except PermissionError:  # Windows, where another kernel wrote the same file just now
                os.unlink(draft)
    if str(home) not in sys.path:
        sys.path.insert(0, str(home))
    importlib.invalidate_caches()
    print(f"teachkit and the data of this chapter are in {home}; nothing was downloaded.")
