"""Files of a run as one zip, and back: how they travel through a storage (running/transfer.py) or a W&B log."""

import io
import zipfile
from collections.abc import Collection, Mapping

from core.errors import UserError


def pack(files: Mapping[str, bytes]) -> bytes:
    """A zip of the files, in this order; it has no dates, so the same files give the same bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def unpack(packed: bytes, known: Collection[str], largest: int) -> dict[str, bytes]:
    """The files by name, in the order in which they were packed.

    Raises UserError if one has another name than those known (which are no paths, so nothing leads out of a folder), if
    all of them unfold to more than `largest` bytes, and for what is no whole zip.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if others := [name for name in archive.namelist() if name not in known]:
                raise UserError(f"not the results of a run ({', '.join(others)})")
            if (size := sum(info.file_size for info in archive.infolist())) > largest:
                raise UserError(f"results of {size:,} bytes, more than a run has ({largest:,})")
            if any(info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for info in archive.infolist()):
                raise UserError("results packed in a way that this suite does not use")
            return {name: archive.read(name) for name in archive.namelist()}
    except UserError:
        raise
    except Exception as error:  # each way to be no zip has an error of its own
        raise UserError(f"not the results of a run ({error})") from error
