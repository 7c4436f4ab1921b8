"""The methods by name, readable without importing torch.

A package of its own adds a method without touching this project, by an entry point of the group `unlabeled.methods`,
`unlabeled.text_methods`, `unlabeled.pair_methods` or `unlabeled.video_methods`.
"""

from importlib.metadata import entry_points

METHOD_GROUPS = (
    "unlabeled.methods",
    "unlabeled.text_methods",
    "unlabeled.pair_methods",
    "unlabeled.video_methods",
)
"""The groups of entry points by which packages add methods."""

IMAGE_METHODS = {
    "byol": "unlabeled.methods.byol:BYOL",
    "simclr": "unlabeled.methods.simclr:SimCLR",
    "moco": "unlabeled.methods.moco:MoCo",
    "simsiam": "unlabeled.methods.simsiam:SimSiam",
    "dino": "unlabeled.methods.dino:DINO",
    "barlow_twins": "unlabeled.methods.barlow_twins:BarlowTwins",
    "vicreg": "unlabeled.methods.vicreg:VICReg",
    "rotation": "unlabeled.methods.rotation:Rotation",
    "jigsaw": "unlabeled.methods.jigsaw:Jigsaw",
    "colorization": "unlabeled.methods.colorization:Colorization",
    "inpainting": "unlabeled.methods.inpainting:Inpainting",
    "autoencoder": "unlabeled.methods.autoencoder:Autoencoder",
    "vae": "unlabeled.methods.vae:VAE",
    "mae": "unlabeled.methods.mae:MAE",
    "supervised": "unlabeled.methods.supervised:Supervised",
    "pca": "unlabeled.methods.pca:PCA",
    "kmeans": "unlabeled.methods.kmeans:KMeans",
    **{point.name: point.value for point in entry_points(group="unlabeled.methods")},
}


TEXT_METHODS = {
    "bert": "unlabeled.methods.bert:BERT",
    "gpt": "unlabeled.methods.gpt:GPT",
    **{point.name: point.value for point in entry_points(group="unlabeled.text_methods")},
}


PAIR_METHODS = {
    "clip": "unlabeled.methods.clip:CLIP",
    **{point.name: point.value for point in entry_points(group="unlabeled.pair_methods")},
}


VIDEO_METHODS = {
    "video_audio": "unlabeled.methods.video_audio:VideoAudio",
    **{point.name: point.value for point in entry_points(group="unlabeled.video_methods")},
}


METHODS = IMAGE_METHODS | TEXT_METHODS | PAIR_METHODS | VIDEO_METHODS
"""Location of each method's class as `module:class`, grouped by the kind of data that the method takes."""


ENCODERS = {
    "image": "unlabeled.images.encoder:ImageEncoder",
    "text": "unlabeled.text.encoder:TextEncoder",
    "pair": "unlabeled.pairs.towers:PairEncoder",
    "frames": "unlabeled.video.encoders:FramesEncoder",
    "sound": "unlabeled.video.encoders:SoundEncoder",
}
"""Location of each encoder's class, by the `kind` in its .json; a file without a kind holds an encoder of images."""


NETWORKS = (
    "small_resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "small_vit",
    "vit_tiny",
    "vit_small",
    "vit_base",
    "linear",
    "patches",
)
"""Networks of images that `pretraining.encoder` names without timm. The last two are those of the methods pca and
kmeans."""
