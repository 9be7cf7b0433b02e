"""The package, what it needs and in which tested ranges.

The ranges here are the only copy: `tools/doctor.py` reads them from the installed package's
metadata, and `make lock` resolves them into requirements.lock, the tested set with hashes.
"""

from setuptools import find_packages, setup

REQUIRES = [
    "torch>=2.11,<2.12",  # older ones are not tested, and may lose gradients in autocast
    "torchvision>=0.26,<0.27",
    "onedl-mmengine>=0.10.12,<0.11",
    "onedl-mmcv>=2.3.6,<2.4",
    "onedl-mmpretrain>=1.3.6,<1.4",
    "onedl-mmdetection>=3.5.1,<3.6",
    "onedl-mmsegmentation>=1.4.2,<1.5",
    "timm>=1.0.31,<1.1",
    "numpy>=2.1,<2.3",  # opencv 4.12 takes no newer one, and imaug no newer opencv
    "Pillow>=11,<14",
    "matplotlib>=3.9,<4",
    "safetensors>=0.5,<1",
    "rich>=13,<16",
    "scikit-learn>=1.5,<2",
    "scipy>=1.14,<2",
    "scikit-image>=0.25,<0.27",  # also ships photographs that the sample data uses
    "jsonschema>=4.20,<5",
    "pycocotools>=2.0.8,<3",
    "PyYAML>=6,<7",
    "fonttools>=4.50,<5",
    # the cv2 without libGL; requirements.lock tells why opencv-python is left out of it
    "opencv-python-headless>=4.12,<4.13",
    "packaging>=24.2,<27",
    "plotly>=6,<7",  # ships plotly.js, which the leaderboard's page carries
    "Jinja2>=3.1,<4",
]

EXTRAS = {
    "dev": [
        "pytest>=8,<10",
        "pytest-xdist>=3.6,<4",
        "hypothesis>=6.100,<7",
        "ruff>=0.17,<0.18",
        "pre-commit>=4,<5",
        "pip-audit>=2.9,<3",
        "pip-tools>=7.5,<8",
        "playwright>=1.50,<2",  # drives the system's chromium in the page's tests
    ],
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.5,<10", "mkdocstrings[python]>=0.27,<2"],
    "slurm": ["submitit>=1.5,<2"],
    "shards": ["webdataset>=1,<2"],
    "tensorboard": ["tensorboard>=2.18,<3"],
    # transformers 5 dropped names without which mmpretrain 1.3 fails to import
    "interop": ["transformers>=4.57,<5"],
    # what the OpenMMLab source packages need to build without build isolation
    "build": ["setuptools>=80,<82", "wheel>=0.45,<1", "ninja>=1.11,<2", "psutil>=6,<8", "click>=8"],
}

setup(
    name="semaim_mm",
    version="0.1.0",
    description="Semantic-aware autoregressive image modelling (SemAIM) on OpenMMLab",
    license="Apache-2.0",
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["semaim_mm", "semaim_mm.*"]),
    package_data={"": ["*.yaml", "*.yml", "*.json", "*.jsonl", "*.html", "*.css", "*.js", "*.txt"]},
    install_requires=REQUIRES,
    extras_require=EXTRAS,
    zip_safe=False,
)
