"""Names of files that are not data, by themselves: left by systems and tools, or of another kind of data."""

import re
from fnmatch import translate

_JUNK = """
.ds_store ._* .appledouble .lsoverride .spotlight-v100 .trashes .trash-* .fseventsd .temporaryitems
.documentrevisions-v100 .volumeicon.icns .apdisk __macosx icon\r
thumbs.db thumbs.db:* ehthumbs.db ehthumbs_vista.db desktop.ini $recycle.bin system*volume*information ~$*
lost+found .directory .nfs* .fuse_hidden* .nomedia .thumbnails .thumbs .picasa.ini picasa.ini .picasaoriginals
@eadir @tmp #recycle .@__thumb .dropbox .dropbox.* .stfolder .stversions .synology*
.ipynb_checkpoints __pycache__ *.pyc .git .gitignore .gitattributes .gitkeep .gitmodules .keep .svn .hg .cvs
*.dvc .dvc .dvcignore .idea .vscode .huggingface .cache *.swp *~ .~lock.*# #*#
"""
_UNFINISHED = "*.part *.partial *.crdownload *.download *.opdownload *.aria2 *.!qb *.!ut *.tmp *.temp *.incomplete"
_NOTES = """
readme readme.* license license.* licence licence.* copying copying.* notice notice.* citation citation.* changelog
changelog.* authors authors.*
"""


def words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Names:
    """A set of names in lower case, some of them shell patterns; a `*` between two words also stands for a blank."""

    def __init__(self, patterns: str):
        each = [name for name in re.split("[\n ]+", patterns) if name]  # a name may end in a carriage return
        self._whole = frozenset(name for name in each if "*" not in name)
        self._pattern = re.compile("|".join(translate(name) for name in each if "*" in name))

    def __contains__(self, lower: str) -> bool:
        return lower in self._whole or self._pattern.match(lower) is not None


JUNK = Names(_JUNK)
"""Files that operating systems, file managers and tools leave behind."""
UNFINISHED = Names(_UNFINISHED)
"""Unfinished downloads, and files that are being written."""
NOTES = Names(_NOTES)
"""Names of files that describe the data, unless their ending says otherwise."""

PICTURES = words(
    "png apng jpg jpeg jpe jfif jp2 j2k jpx gif bmp dib tif tiff webp avif heic heif ico icns ppm pgm pbm pnm pfm pcx "
    "tga dds psd xbm xpm sgi rgb ras svg eps raw dng cr2 cr3 nef arw orf rw2 raf exr hdr dcm dicom"
)
VIDEOS = words("mp4 m4v mov qt webm mkv avi wmv flv f4v mpg mpeg mpe m2v m2ts mts vob ogv 3gp 3g2 mxf")
SOUNDS = words("wav mp3 flac ogg oga opus m4a aac wma aif aiff au amr mid midi")
WORDS = words(
    "txt text md markdown rst tex bib csv tsv json jsonl ndjson geojson xml xsd dtd yaml yml toml ini cfg conf log "
    "html htm xhtml css js ts py pyi ipynb r m sh bash bat ps1 c h cc cpp hpp java go rs rb pl lua sql srt vtt names "
    "lst list cff license md5 sha1 sha256 sha512 xmp aae prototxt lock properties vocab"
)
"""Endings of text files."""
PACKED = words(
    "pdf doc docx xls xlsx ppt pptx odt ods odp rtf epub djvu mobi pages numbers key "
    "zip tar gz tgz bz2 tbz2 xz txz 7z rar zst lz4 iso dmg cab jar apk deb rpm "
    "npy npz mat pkl pickle joblib h5 hdf5 hdf pt pth ckpt onnx safetensors pb tflite tfrecord tfrecords lmdb mdb db "
    "sqlite sqlite3 parquet arrow feather orc avro exe dll so dylib o a class msi lnk url torrent ttf otf woff"
)
"""Endings of documents, archives, arrays, databases and programs."""
