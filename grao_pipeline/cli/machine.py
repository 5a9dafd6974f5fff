"""What the machine refuses, wherever in a stage: memory, space, rights, handles. Not a bug of ours, so no traceback."""

import errno

from grao_pipeline.files import printable

REFUSALS = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ELOOP,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


def machine_problem(error: MemoryError | OSError) -> str | None:
    """What to tell people about an error that the machine, not the library, raised; None where it may be a bug."""
    if isinstance(error, MemoryError) or error.errno == errno.ENOMEM:
        reason = printable(str(error)) or "an allocation failed"
        return f"Not enough memory ({reason}). Free some and run the same command again; what is written is reused."
    if error.errno not in REFUSALS:
        return None
    from grao_pipeline.storage.outside_errors import refused

    place = printable(str(error.filename)) if error.filename is not None else "a file"
    return str(refused("use", place, error))
