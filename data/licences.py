"""Which licences let a corpus be passed on. A list to sort text by, no legal advice.

Redistributable is what anybody may copy, change and pass on, at most with credit, a notice, or under the same terms.
Licences that forbid commercial use or changes are not, nor is anything unknown.
"""

import re

# SPDX identifiers (spdx.org/licenses), lower case and without version; words in use for text that nobody owns
_OPEN = {
    *(
        "cc0",
        "cc-pddc",
        "pddl",
        "public-domain",
        "public domain",
        "us-government-public-domain",
        "licenseref-publicdomain-usa",
        "unlicense",
        "0bsd",
    ),
    *("cc-by", "cc-by-sa", "odc-by", "odbl", "gfdl", "fal", "ogl-uk", "etalab", "cdla-permissive", "cdla-sharing"),
    *("mit", "mit-0", "apache", "bsd-2-clause", "bsd-3-clause", "isc", "zlib", "bsl", "psf", "python", "mpl", "epl"),
    *("gpl", "lgpl", "agpl", "artistic", "wtfpl", "ofl", "eupl", "unicode-dfs", "unicode"),
}
_VERSION = re.compile(r"[- ]v?\d+(\.\d+)*([- ]?(only|or-later|igo|intl|international|unported|us|uk|de|fr))*\+?$|\+$")


def is_redistributable(licence: str) -> bool:
    """Whether text under `licence` may be passed on, also changed: an SPDX expression, or a name in common use.

    Of licences joined by OR (or a slash) one must allow it, of licences joined by AND each.
    """
    return any(
        all(_is_open(part) for part in re.split(r"\s+and\s+", option, flags=re.IGNORECASE))
        for option in re.split(r"\s+or\s+|\s*/\s*", licence.strip("() "), flags=re.IGNORECASE)
    )


def _is_open(name: str) -> bool:
    plain = name.strip("() ").lower()
    return plain in _OPEN or _VERSION.sub("", plain) in _OPEN
