"""The one photo decoder, shared by training, evaluation and serving.

The rules, the same for every kind of file:

- Upright: the EXIF orientation is applied, so a phone photo looks as it did when it was taken.
- First picture: of an animation, a burst or a file of many pages the first (primary) one counts,
  and only that one has to be whole.
- On white: transparent pixels turn white, as on a page. Dropping alpha would show the arbitrary
  colours that editors leave under them.
- Eight bits: 16-bit photos keep their upper byte. 32-bit integers and floats say nothing about
  their range: white is the first of 1, 255 and 65535 that no value exceeds, else the largest
  value; black is 0.
- No colour management: embedded ICC profiles are ignored, as is usual in training pipelines and
  datasets. Display P3 photos of phones come out slightly less saturated, in training and serving
  alike.

Truncated files are errors. Corrupted data inside a JPEG, or inside one tile of a HEIC, cannot be
detected: they have no checksums.
"""

import io
import os
import struct
import warnings

import numpy as np
import pillow_heif
from PIL import (  # noqa: F401  Importing a plugin registers it; Pillow would import all 40.
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from flowers_model.errors import UserError

# The 108 megapixels of a phone's full-resolution mode pass: 2.5 s and 1.1 GB of memory while
# decoding, 1.5 GB where the photo has to be turned. The 200 megapixels of a few phones would take
# close to 3 GB, too much for a server that anyone may send files to, and the network sees a photo
# at only a few hundred pixels. They would also exceed the limit of Pillow, which stays on.
MAX_PIXELS = 120_000_000

# An explicit list, since Pillow would also open what runs programs (EPS) or is no photo (PDF).
# "JPEG" covers MPO, the JPEG with several pictures that some phones write.
_FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF", "BMP", "TIFF")
_NEEDED = "a photo as JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF is needed"

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
# From 89 megapixels on Pillow warns, at 179 it refuses. MAX_PIXELS lies between the two.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


# What `decode` takes.
Photo = bytes | str | os.PathLike | Image.Image | np.ndarray


class PhotoError(UserError):
    """A photo cannot be used; the message says why, and what would work."""


def decode(
    source: Photo,
    max_pixels: int = MAX_PIXELS,
    at_least: int | None = None,
) -> np.ndarray:
    """Decode any photo to upright RGB, by the rules at the top of this module.

    Thread-safe.

    >>> decode("photo.heic").shape
    (3024, 4032, 3)

    Args:
        source: An encoded photo as bytes; a path (a `str` is always a path, never a URL); a PIL
            image; or a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4): grey, RGB or RGBA.
        max_pixels: A photo with more pixels is refused by its header, before decoding. Pillow
            itself refuses more than 178 megapixels.
        at_least: If both sides need no more than this many pixels, a JPEG is decoded at the half,
            quarter or eighth of its size that still has them, in less time and memory. By default
            at full size.

    Returns:
        uint8 (H, W, 3), C-contiguous, read-only, sharing no memory with `source`.

    Raises:
        PhotoError: `source` is not a photo in a supported format, is damaged, truncated or too
            large, or its file cannot be read.
    """
    name = "this photo"
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        source = _read(name)
    if isinstance(source, bytes):
        image = _open(source, name, max_pixels)
    elif isinstance(source, np.ndarray):
        image = _from_array(source)
    elif isinstance(source, Image.Image):
        image = source
    else:
        kind = type(source).__name__
        raise PhotoError(f"a photo is bytes, a path, a PIL image or an array, not {kind}")

    width, height = image.size
    if width * height > max_pixels:
        megapixels = f"{width * height / 1e6:.0f}"
        raise _too_large(name, f"{width} x {height} pixels", megapixels, max_pixels)
    if at_least is not None and isinstance(source, bytes):
        image.draft(None, (at_least, at_least))  # Does nothing to other formats.
    # If another library has switched this on, half a photo would pass for a complete one.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        image.load()
    except Exception as error:  # On damaged data the decoders raise nearly anything.
        raise _damaged(name, error) from error
    turn = _TURNS.get(_orientation(image))
    image = _rgb(image)
    return np.asarray(image if turn is None else image.transpose(turn))


def fit(photo: np.ndarray, size: int, crop: float = 1.0) -> np.ndarray:
    """Crop the centre square of a photo and resize it, in one antialiased bilinear step.

    >>> fit(decode("photo.jpg"), 224, crop=0.875).shape
    (224, 224, 3)

    Args:
        photo: uint8 (H, W, 3).
        size: Side of the result, in pixels; may be larger than the photo.
        crop: Side of the square as a share of the short side of `photo`, above 0, at most 1.

    Returns:
        uint8 (size, size, 3), C-contiguous, read-only.

    Raises:
        ValueError: `size` or `crop` is out of range.
    """
    if size < 1 or not 0 < crop <= 1:
        raise ValueError(f"size is at least 1 and crop above 0, at most 1; not {size} and {crop}")
    height, width = photo.shape[:2]
    side = crop * min(height, width)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    image = Image.fromarray(photo).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(image)


def reduced(photo: np.ndarray, side: int, quality: int) -> bytes:
    """A photo as JPEG, its longer side at most so many pixels.

    >>> len(reduced(decode("photo.jpg"), 384, quality=88))
    31415

    Args:
        photo: uint8 (H, W, 3).
        side: pixels.
        quality: of the JPEG, 1..95.
    """
    picture = Image.fromarray(photo)
    picture.thumbnail((side, side))
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=quality)
    return encoded.getvalue()


def _read(path: str) -> bytes:
    if os.path.isdir(path):
        raise PhotoError(f"{path} is a folder; a photo file is needed")
    if not os.path.isfile(path):  # Neither are devices and pipes, which need never end.
        raise PhotoError(f"{path} is not there; a photo file is needed")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise PhotoError(f"{path} cannot be read: {error.strerror}") from error


def _open(data: bytes, name: str, max_pixels: int) -> Image.Image:
    if not data:
        raise PhotoError(f"{name} is empty; {_NEEDED}", "empty")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except Image.UnidentifiedImageError as error:
        raise PhotoError(f"{name} cannot be read as a photo; {_NEEDED}", "unreadable") from error
    except Image.DecompressionBombError as error:
        raise _too_large(name, "over 178 megapixels", ">178", max_pixels) from error
    except Exception as error:  # On damaged data the plugins raise nearly anything.
        raise _damaged(name, error) from error
    if image.format == "HEIF" and _heif_is_cut_short(data):
        raise _damaged(name, "the file ends too early")
    return image


def _heif_is_cut_short(data: bytes) -> bool:
    """Whether the file ends inside the boxes that hold the pictures (ISO/IEC 14496-12, 4.2).

    The HEIC of an iPhone is a grid of tiles, and libheif leaves missing tiles blank in silence.
    """
    start = 0
    while start + 16 <= len(data):
        size, kind, large = struct.unpack_from(">I4sQ", data, start)
        size = large if size == 1 else size
        if kind in (b"meta", b"mdat") and start + size > len(data):
            return True
        if size < 8:  # 0: up to the end of the file. Else: no box, but something appended.
            return False
        start += size
    return False


def _from_array(array: np.ndarray) -> Image.Image:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not fits or array.size == 0:
        raise PhotoError(
            "a photo as an array is uint8 of shape (H, W), (H, W, 3) or (H, W, 4), "
            f"not {array.dtype} of shape {array.shape}"
        )
    return Image.fromarray(array)


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, struct.error):
        return None  # A photo whose EXIF is damaged is still a good photo.


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0).clip(0)
        peak = values.max()
        white = next(white for white in (1, 255, 65535, peak) if white >= peak)
        grey = np.rint(values * (255 / white)).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        if image.mode == "La":  # Pillow has no direct way from here to RGBA.
            image = image.convert("LA")
        image = image.convert("RGBA")
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=image.getchannel("A"))
        return page
    return image if image.mode == "RGB" else image.convert("RGB")


def _damaged(name: str, reason: object) -> PhotoError:
    reason = " ".join(str(reason).split()) or type(reason).__name__
    return PhotoError(
        f"{name} is damaged or cut short ({reason}); a whole photo file is needed", "cut_short"
    )


def _too_large(name: str, reason: str, megapixels: str, max_pixels: int) -> PhotoError:
    most = f"{max_pixels / 1e6:g}"
    return PhotoError(
        f"{name} is too large ({reason}); at most {most} megapixels are fine",
        "too_large",
        megapixels=megapixels,
        most=most,
    )
