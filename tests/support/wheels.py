"""Wheels that hold next to nothing, and what an installed package leaves."""

import zipfile
from importlib.metadata import distribution
from pathlib import Path


def metadata_of(name, version, requires=()):
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    extras = sorted({line.split("extra == ")[1].strip("\"'") for line in requires if "extra == " in line})
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    return "\n".join([*lines, *(f"Requires-Dist: {requirement}" for requirement in requires), ""])


def write_wheel(folder, name, requires=(), version="1.0", tag="py3-none-any", files=None):
    """Write a wheel, and return its path."""
    stem = f"{name.replace('-', '_')}-{version}"
    contents = {
        f"{stem}.dist-info/METADATA": metadata_of(name, version, requires),
        f"{stem}.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n",
        **(files or {f"{name.replace('-', '_')}.py": ""}),
    }
    contents[f"{stem}.dist-info/RECORD"] = "".join(f"{file},,\n" for file in contents)
    path = Path(folder) / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in contents.items():
            archive.writestr(file, content)
    return path


def write_wheel_of(folder, name):
    """Write a wheel of a package that is installed here, without what it requires."""
    found = distribution(name)
    paths = [path for path in found.files or () if path.parts[0] == name and path.suffix in {".py", ".typed"}]
    return write_wheel(
        folder, name, version=found.version, files={str(path): path.locate().read_text() for path in paths}
    )


def pretend_installed(site_packages, name, version):
    """Leave what pip takes for an installed package."""
    folder = Path(site_packages) / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(metadata_of(name, version))
    (folder / "RECORD").write_text("".join(f"{folder.name}/{file},,\n" for file in ("METADATA", "RECORD")))
