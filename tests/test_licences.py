import pytest

from data.licences import is_redistributable


@pytest.mark.parametrize(
    "licence",
    [
        *(
            "CC0-1.0",
            "CC-BY-4.0",
            "CC-BY-SA-3.0",
            "CC-BY-SA 4.0",
            "cc-by-3.0-us",
            "ODC-By-1.0",
            "ODC-By 1.0",
            "PDDL-1.0",
        ),
        *(
            "PSF-2.0",
            "MIT",
            "Apache-2.0",
            "GPL-3.0-or-later",
            "GPL-2.0+",
            "GFDL-1.3-only",
            "public domain",
            "Unlicense",
            "LicenseRef-PublicDomain-USA",
        ),
        *("CC BY-NC 4.0 OR CC0-1.0", "CC-BY-SA-3.0 / GFDL", "(MIT AND CC-BY-4.0)"),
    ],
)
def test_what_may_be_passed_on(licence):
    assert is_redistributable(licence)


@pytest.mark.parametrize(
    "licence",
    [
        *("unknown", "", "proprietary", "CC-BY-NC-4.0", "CC-BY-ND-4.0", "CC-BY-NC-SA-4.0", "all rights reserved"),
        *("MIT AND CC-BY-NC-4.0", "CC-BY-NC-4.0 or proprietary", "see terms", "mitten", "4.0"),
    ],
)
def test_what_may_not_or_is_not_known(licence):
    assert not is_redistributable(licence)
