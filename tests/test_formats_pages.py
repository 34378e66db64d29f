"""Pages, books, PDF, Word documents, web archives and Parquet, made by hand or by the libraries that write them."""

import datetime
import gzip
import io
import json
import os
import sys
import zipfile
import zlib

import docx
import pyarrow as pa
import pyarrow.parquet as pq
import pypdf
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from data.formats import docx as docx_reader
from data.formats import epub, warc
from data.formats.base import File, Reading, Tally
from data.formats.html import extract
from data.formats.markup import text_of_page
from data.formats.reading import read_file
from data.sources.base import Problem, RawDocument
from tests.format_toys import SHARED, documents, found, problems, texts

with_samples = pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
PROSE = [
    "The mill stood by the river, and every morning the miller opened its doors before the sun was up.",
    "Nobody in the village remembered who had built it, though many claimed that their grandfathers had.",
    "In winter the wheel froze, and people from both banks walked over the ice to look at it in silence.",
]
PAGE = """<!DOCTYPE html><html lang="en"><head><title>The mill - Site</title>{head}
<meta property="article:published_time" content="2021-03-04T05:06:07Z"><meta name="author" content="Ada Miller">
</head><body><nav><ul><li><a href="/">Home</a></li><li><a href="/login">Log in to your account</a></li></ul></nav>
<article><h1>The mill</h1>{body}</article>
<footer><p>Copyright Site. All rights reserved. <a href="/cookies">Cookie settings</a></p></footer></body></html>"""
PARAGRAPHS = "".join(f"<p>{text}</p>" for text in PROSE)


def test_a_page_is_read_without_what_is_around_it():
    (page,) = documents(found("a.html", PAGE.format(head="", body=PARAGRAPHS).encode(), url="http://x.org/mill"))
    assert (page.native_id, page.url, page.created, page.authors) == (
        "a.html",
        "http://x.org/mill",
        "2021-03-04",
        ("Ada Miller",),
    )
    assert page.meta["title"] in ("The mill", "The mill - Site")
    assert all(text in page.text for text in PROSE)
    assert not any(text in page.text for text in ("Log in", "Cookie", "Home"))


GERMAN = (
    "<p>Die Mühle stand am Fluß, und über der Straße lag jeden Morgen früh ein schöner Nebel, bis die Sonne kam.</p>"
)
RUSSIAN = "<p>Мельница стояла у реки, и каждое утро над дорогой лежал красивый туман, пока не всходило солнце.</p>"
JAPANESE = "<p>" + "水車小屋は川のそばに立っていて、朝には霧が美しかった。" * 3 + "</p>"


@pytest.mark.parametrize(
    ("head", "encoding", "content_type", "body", "told"),
    [
        ('<meta charset="iso-8859-1">', "cp1252", None, GERMAN, "cp1252"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
            "cp1251",
            None,
            RUSSIAN,
            "cp1251",
        ),
        ("<meta charset='koi8-r'>", "koi8-r", None, RUSSIAN, "koi8-r"),
        ('<meta charset="x-sjis">', "cp932", None, JAPANESE, "cp932"),
        ("<meta charset=euc-jp>", "euc_jp", None, JAPANESE, "euc_jp"),
        ('<meta charset="iso-2022-jp">', "iso2022_jp", None, JAPANESE, "iso2022_jp"),
        ("", "cp1251", "text/html; charset=Windows-1251", RUSSIAN, "cp1251"),
        ('<meta charset="latin1">', "koi8-r", 'text/html; charset="koi8-r"', RUSSIAN, "koi8-r"),
        ('<meta charset="iso-8859-1">', "utf-8", None, RUSSIAN, None),  # UTF-8 that says that it is something else
        ('<meta charset="utf-8">', "cp1251", None, RUSSIAN, "cp1251"),  # what it declares is wrong: found out
        ('<meta charset="no-such">', "cp1252", None, GERMAN, "cp1252"),
        ("", "utf-16", None, RUSSIAN, "utf-16-le"),
    ],
)
def test_declared_charsets_are_used(head, encoding, content_type, body, told):
    data = PAGE.format(head=head, body=body * 3).encode(encoding)
    (page,) = found("a.html", data, content_type=content_type)
    assert isinstance(page, RawDocument), page
    assert body[3:-4] in page.text
    assert page.meta.get("encoding") == told


def test_an_xml_declaration_counts():
    data = b'<?xml version="1.0" encoding="koi8-r"?>' + PAGE.format(head="", body=RUSSIAN * 3).encode("koi8-r")
    assert RUSSIAN[3:-4] in found("a.xhtml", data)[0].text


@pytest.mark.parametrize(
    "data", [b"", b"<html></html>", b"<p> </p>", b"<!-- nothing -->", b"\xff\xfe", b"<html><script>x()</script></html>"]
)
def test_a_page_without_text_is_a_problem(data):
    assert [problem.what for problem in found("a.htm", data)] == ["no_text"]


def test_a_page_that_is_too_large_or_deep_is_a_problem(monkeypatch):
    deep = b"<div>" * 100_000 + b"text" + b"</div>" * 100_000
    assert all(isinstance(one, RawDocument | Problem) for one in found("a.html", deep))
    monkeypatch.setattr("data.formats.html.PAGE_BYTES", 100)
    assert [problem.what for problem in found("a.html", b"x" * 101)] == ["too_large"]


def test_markup_as_text_keeps_blocks_and_joins_lines():
    page = """<html><head><title>no</title></head><body><h1>One</h1><p>two
    <em>three</em>, four<br/>five</p><ul><li>six</li><li>seven</li></ul><pre>a
      b</pre><!-- no --><script>no()</script><p>a &amp; b&nbsp;&#8217;</p>tail</body></html>"""
    assert text_of_page(page) == "One\n\ntwo three, four\nfive\n\nsix\n\nseven\n\na\n      b\n\na & b\xa0’\n\ntail"


def book(pages, opf=None, more=()):
    file = io.BytesIO()
    items = "".join(
        f'<item id="i{n}" href="t%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(pages))
    )
    spine = "".join(f'<itemref idref="i{n}"/>' for n in reversed(range(len(pages))))
    package = opf or (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
        "<dc:title>The Mill</dc:title><dc:creator>Ada</dc:creator><dc:creator>Bo</dc:creator>"
        "<dc:date>1999-01-02</dc:date>"
        f'</metadata><manifest>{items}<item id="css" href="s.css" media-type="text/css"/></manifest>'
        f'<spine><itemref idref="css"/>{spine}</spine></package>'
    )
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr(
            "META-INF/container.xml",
            '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OPS/book.opf"/></rootfiles></container>',
        )
        archive.writestr("OPS/book.opf", package)
        for number, page in enumerate(pages):
            archive.writestr(f"OPS/t {number}.xhtml", page)
        for name, data in more:
            archive.writestr(name, data)
    return file.getvalue()


def chapter(text, head=""):
    return f'{head}<html xmlns="http://www.w3.org/1999/xhtml"><head><title>no</title></head><body><p>{text}</p></body></html>'


def test_a_book_is_read_in_the_order_of_its_spine():
    (got,) = found("a.epub", book([chapter("last"), chapter("second"), chapter("first &amp; best")]))
    assert (got.native_id, got.text) == ("a.epub", "first & best\n\nsecond\n\nlast")
    assert (got.meta, got.authors, got.created) == ({"look": 1, "title": "The Mill"}, ("Ada", "Bo"), "1999-01-02")


def test_pages_of_a_book_that_cannot_be_read_are_named(monkeypatch):
    locked = (
        '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><EncryptedData><CipherData>'
        '<CipherReference URI="OPS/t 1.xhtml"/></CipherData></EncryptedData></encryption>'
    )
    data = book([chapter("fine"), chapter("locked"), b"bin\0ary"], more=[("META-INF/encryption.xml", locked)])
    got = found("a.epub", data)
    assert texts(got) == {"a.epub": "fine"}
    assert [(problem.what, problem.where) for problem in problems(got)] == [
        ("binary", "a.epub#1"),
        ("encrypted", "a.epub#2"),
    ]
    monkeypatch.setattr(epub, "_BOOK_BYTES", 150)
    assert [problem.what for problem in problems(found("a.epub", book([chapter("a"), chapter("b")])))] == ["too_large"]


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"no zip", "damaged"),
        (book([]), "no_text"),
        (book([], "<package/>"), "no_text"),
        (book([], "no xml"), "damaged"),
        (book([chapter("")]), "no_text"),
    ],
)
def test_what_is_no_book_is_a_problem(data, what):
    assert [problem.what for problem in found("a.epub", data)] == [what]


def pdf(pages, info=""):
    """A PDF of one line of text per page."""
    objects = ["<</Type/Catalog/Pages 2 0 R>>"]
    kids = " ".join(f"{4 + 2 * n} 0 R" for n in range(len(pages)))
    objects.append(f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>")
    objects.append("<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>")
    for number, text in enumerate(pages):
        content = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        objects.append(
            "<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F1 3 0 R>>>>"
            f"/Contents {5 + 2 * number} 0 R>>"
        )
        objects.append(f"<</Length {len(content)}>>stream\n{content}\nendstream")
    objects.append(f"<<{info}>>")
    out = "%PDF-1.4\n"
    places = []
    for number, text in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj{text}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    size = len(objects) + 1
    end = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer<</Size {size}/Root 1 0 R/Info {size - 1} 0 R>>"
    return f"{out}{end}\nstartxref\n{len(out)}\n%%EOF".encode()


def test_a_pdf_is_read_page_by_page():
    info = "/Title(The Mill)/Author(Ada)/CreationDate(D:20200102030405Z)"
    (got,) = found("a.pdf", pdf(["First page", "", "Third page"], info))
    assert (got.native_id, got.text) == ("a.pdf", "First page\n\nThird page")
    assert (got.meta, got.authors, got.created) == (
        {"look": 1, "title": "The Mill"},
        ("Ada",),
        "2020-01-02T03:04:05+00:00",
    )
    assert texts(found("a.pdf.gz", gzip.compress(pdf(["packed"])))) == {"a.pdf.gz": "packed"}


def test_a_locked_pdf_and_one_of_pictures_are_problems():
    writer = pypdf.PdfWriter(io.BytesIO(pdf(["secret"])))
    writer.encrypt("password")
    file = io.BytesIO()
    writer.write(file)
    assert [problem.what for problem in found("a.pdf", file.getvalue())] == ["encrypted"]
    assert [problem.what for problem in found("a.pdf", pdf(["", ""]))] == ["no_text"]
    assert [problem.what for problem in found("a.pdf", b"no pdf")] == ["damaged"]


def word(paragraphs):
    document = docx.Document()
    for text in paragraphs:
        document.add_paragraph(text)
    table = document.add_table(rows=2, cols=2)
    for number, cell in enumerate(cell for row in table.rows for cell in row.cells):
        cell.text = f"cell {number}"
    document.add_paragraph("after the table")
    document.core_properties.title = "The Mill"
    document.core_properties.author = "Ada"
    document.core_properties.created = datetime.datetime(2020, 1, 2)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def test_a_word_document_is_read_in_order(monkeypatch):
    data = word(["Größe", "", "second"])
    (got,) = found("a.docx", data)
    assert got.text == "Größe\n\nsecond\n\ncell 0\tcell 1\n\ncell 2\tcell 3\n\nafter the table"
    assert (got.meta, got.authors, got.created[:10]) == ({"look": 1, "title": "The Mill"}, ("Ada",), "2020-01-02")
    assert [problem.what for problem in found("a.docx", b"no zip")] == ["damaged"]
    assert [problem.what for problem in found("a.docx", book([chapter("x")]))] == ["damaged"]
    monkeypatch.setattr(docx_reader, "_UNPACKED_BYTES", 100)
    assert [problem.what for problem in found("a.docx", data)] == ["too_large"]


@pytest.mark.parametrize(("name", "library", "extra"), [("a.pdf", "pypdf", "pdf"), ("a.docx", "docx", "docx")])
def test_an_extra_that_is_not_installed_is_named(name, library, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    (problem,) = found(name, b"")
    assert problem.what == "not_installed"
    assert f"pip install -c constraints.txt -e '.[{extra}]'" in problem.why


def warc_of(answers, packed=True, **record_headers):
    """Records of (url, headers, body), written by warcio; a request before each."""
    file = io.BytesIO()
    writer = WARCWriter(file, gzip=packed)
    for url, status, headers, body in answers:
        line = StatusAndHeaders("GET / HTTP/1.1", [("Host", "x")], is_http_request=True)
        writer.write_record(writer.create_warc_record(url, "request", http_headers=line))
        http = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
        date = {"WARC-Date": "2024-05-06T07:08:09Z"}
        writer.write_record(
            writer.create_warc_record(
                url, "response", io.BytesIO(body), len(body), http_headers=http, warc_headers_dict=date
            )
        )
    return file.getvalue()


HTML = PAGE.format(head="", body=PARAGRAPHS).encode()
TYPE = ("Content-Type", "text/html; charset=utf-8")


@pytest.mark.parametrize("packed", [True, False])
def test_a_web_archive_gives_its_pages_and_texts(packed):
    chunked = b"%x\r\n%b\r\n5;x=y\r\n<!-- \r\n3\r\n-->\r\n0\r\n\r\n" % (len(HTML), HTML)
    data = warc_of(
        [
            ("http://a/1", "200 OK", [TYPE], HTML),
            ("http://a/2", "200 OK", [("Content-Type", "text/plain; charset=koi8-r")], "Мельница".encode("koi8-r")),
            ("http://a/3", "200 OK", [("Content-Type", "image/png")], b"\x89PNG"),
            ("http://a/4", "404 Not Found", [TYPE], b"gone"),
            ("http://a/5", "200 OK", [TYPE, ("Content-Encoding", "gzip")], gzip.compress(HTML)),
            ("http://a/6", "200 OK", [TYPE, ("Content-Encoding", "deflate")], zlib.compress(HTML)),
            ("http://a/7", "200 OK", [TYPE, ("Content-Encoding", "zstd")], zstandard.compress(HTML)),
            ("http://a/8", "200 OK", [TYPE, ("Transfer-Encoding", "chunked")], chunked),
            ("http://a/9", "200 OK", [TYPE, ("Content-Encoding", "br")], b"?"),
            ("http://a/10", "200 OK", [], HTML),
        ],
        packed,
    )
    name = "x.warc.gz" if packed else "x.warc"
    got = found(name, data, chunk=1000)
    assert [(one.native_id, one.url) for one in documents(got)] == [
        (f"{name}#{2 * n}", f"http://a/{n}") for n in (1, 2, 5, 6, 7, 8, 10)
    ]
    assert all(all(text in one.text for text in PROSE) for one in documents(got) if one.url != "http://a/2")
    assert documents(got)[1].text == "Мельница"
    assert documents(got)[1].meta == {"look": 1, "fetched": "2024-05-06T07:08:09Z", "encoding": "koi8-r"}
    assert documents(got)[1].position == {"record": 4, "piece": 1, "part": 1}
    assert [(problem.what, problem.where) for problem in problems(got)] == [
        ("unsupported", f"{name}#18"),
        ("ignored", name),
    ]
    assert problems(got)[1].why == "passed over: 1 answers with status 404, 1 of type image/png, 10 request records"


def test_extracted_text_of_web_archives_is_read():
    body = "Größe und Mühle".encode()
    head = b"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a/\r\nContent-Type: text/plain\r\n"
    record = head + b"Content-Length: %d\r\n\r\n%b\r\n\r\n" % (len(body), body)
    assert texts(found("x.warc.zst", zstandard.compress(record * 2))) == {
        "x.warc.zst#1": "Größe und Mühle",
        "x.warc.zst#2": "Größe und Mühle",
    }


@pytest.mark.parametrize(
    ("tail", "what"),
    [
        (b"no record\r\n", "broken"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "broken"),
        (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: -1\r\n\r\n", "broken"),
        (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: 1000\r\n\r\nshort", "cut"),
        (b"WARC/1.0\r\nWARC-Type: request\r\nContent-Length: 1000\r\n\r\nshort", "cut"),
        (b"WARC/1.0\r\n" + b"a: b\r\n" * 1_000, "broken"),
        (b"WARC/1.0\r\na: " + b"b" * 200_000, "broken"),
    ],
)
def test_a_broken_web_archive_gives_what_comes_before(tail, what):
    got = found("x.warc", warc_of([("http://a/", "200 OK", [TYPE], HTML)], packed=False) + tail, chunk=500)
    assert len(documents(got)) == 1
    assert what in [problem.what for problem in problems(got)]


def test_a_record_that_is_too_large_is_passed_over(monkeypatch):
    monkeypatch.setattr(warc, "PAGE_BYTES", len(HTML) + 500)
    zeros = gzip.compress(bytes(100_000))
    answers = [
        ("http://a/1", "200 OK", [TYPE], b"x" * (len(HTML) + 600)),
        ("http://a/2", "200 OK", [TYPE, ("Content-Encoding", "gzip")], zeros),
        ("http://a/3", "200 OK", [TYPE, ("Content-Encoding", "deflate")], zlib.compress(bytes(100_000))),
        ("http://a/4", "200 OK", [TYPE], HTML),
    ]
    got = found("x.warc.gz", warc_of(answers))
    assert [one.url for one in documents(got)] == ["http://a/4"]
    assert [problem.what for problem in problems(got)][:3] == ["too_large"] * 3


@with_samples
def test_the_sample_web_archive_gives_what_warcio_finds():
    data = (SHARED / "messy" / "creativecommons_pages.warc.gz").read_bytes()
    records = [one for one in ArchiveIterator(io.BytesIO(data)) if one.rec_type == "response"]
    expected = [(one.rec_headers["WARC-Target-URI"], one.rec_headers["WARC-Date"]) for one in records]
    got = found("x.warc.gz", data)
    assert [(one.url, one.meta["fetched"]) for one in got] == expected
    assert len(got) == 4
    for one in got:
        assert "Creative Commons" in one.text
        assert not any(boilerplate in one.text for boilerplate in ("<", "function(", "Cookie"))
    assert all(one.meta["title"] for one in got)


SCHEMA = pa.schema([("id", pa.int64()), ("text", pa.string()), ("date", pa.timestamp("us")), ("junk", pa.binary())])


def parquet(rows, schema=SCHEMA, sizes=None):
    """A file with a row group for each of `sizes`."""
    file = io.BytesIO()
    table = pa.Table.from_pylist(rows, schema)
    with pq.ParquetWriter(file, table.schema) as writer:
        at = 0
        for size in sizes or [len(rows)]:
            writer.write_table(table.slice(at, size), row_group_size=max(1, size))
            at += size
    return file.getvalue()


def test_parquet_with_empty_groups_nulls_and_dates():
    rows = [
        {"id": n, "text": f"text {n}", "date": datetime.datetime(2020, 1, n + 1), "junk": b"\xff"} for n in range(5)
    ]
    rows[2]["text"] = None
    got = found("a.parquet", parquet(rows, sizes=[2, 0, 2, 0, 1]))
    assert texts(got) == {f"a.parquet#{n + 1}": f"text {n}" for n in (0, 1, 3, 4)}
    assert [(problem.what, problem.where) for problem in problems(got)] == [("null", "a.parquet#3")]
    assert documents(got)[-1].created == "2020-01-05T00:00:00"
    assert found("a.parquet", parquet([], sizes=[0])) == []
    ids = found("a.parquet.zst", zstandard.compress(parquet(rows)), Reading(id_field="id"))
    assert [one.native_id for one in documents(ids)] == [f"a.parquet.zst#{n}" for n in (0, 1, 3, 4)]


def test_a_large_row_group_is_read_as_a_stream():
    data = parquet([{"text": os.urandom(1_000).hex()} for _ in range(10_000)])  # 20 MB in one row group
    taken = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            got = super().read(size)
            taken.append(len(got))
            return got

    file = File("a.parquet", lambda: [data], meta={"look": 1}, seekable=lambda: Counting(data))
    rows = read_file(file, Reading(), Tally())
    assert isinstance(next(rows), RawDocument)
    assert sum(taken) < 8_000_000
    assert len(list(rows)) == 9_999
    assert sum(taken) > 10_000_000


def test_parquet_of_other_columns_or_types_and_damaged():
    (problem,) = found("a.parquet", parquet([{"story": "x"}], pa.schema([("story", pa.string())])))
    assert str(problem) == (
        "a.parquet: no_text: no column text or content or body (text_field); its columns are: 'story'"
    )
    got = found("a.parquet", parquet([{"text": 5}], pa.schema([("text", pa.int64())])))
    assert [problem.what for problem in got] == ["no_text"]
    columns = [pa.array(["a", "b"]).cast(pa.binary()), pa.array([10**18, 0]).cast(pa.timestamp("us"))]
    file = io.BytesIO()
    pq.write_table(pa.table(columns, names=["text", "date"]), file)
    assert [(one.text, one.created) for one in found("a.parquet", file.getvalue())] == [
        ("a", None),
        ("b", "1970-01-01T00:00:00"),
    ]
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"caf\xe9", b"b"]).buffers())
    pq.write_table(pa.table([text], names=["text"]), file := io.BytesIO())
    assert [getattr(one, "what", None) or one.text for one in found("a.parquet", file.getvalue())] == ["no_text", "b"]
    pq.write_table(pa.Table.from_arrays([text, text], ["text", "text"]), file := io.BytesIO())
    (problem,) = found("a.parquet", file.getvalue())
    assert str(problem) == "a.parquet: damaged: it cannot be read as Parquet: two of its columns are called 'text'"
    large = parquet([{"text": "x"}], pa.schema([("text", pa.large_string())]))
    assert texts(found("a.parquet", large)) == {"a.parquet#1": "x"}
    assert [problem.what for problem in found("a.parquet", b"PAR1 no PAR1")] == ["damaged"]
    assert [problem.what for problem in found("a.parquet", b"")] == ["damaged"]


@with_samples
@pytest.mark.parametrize("name", ["bookcorpus_like", "fineweb_like", "openwebtext_like"])
def test_the_sample_tables_give_every_row(name):
    path = SHARED / "hf_shapes" / f"{name}.parquet"
    got = found(path.name, path.read_bytes(), Reading(repair_mojibake=False))
    table = pq.read_table(path)
    assert [one.text for one in got] == table["text"].to_pylist()
    if name == "fineweb_like":
        assert len(got) == 300
        assert [one.url for one in got] == table["url"].to_pylist()


@with_samples
def test_the_sample_articles_are_all_there():
    data = (SHARED / "prose" / "web_articles.jsonl").read_bytes()
    got = found("a.jsonl", data, Reading(id_field="id", repair_mojibake=False))
    articles = [json.loads(line) for line in data.splitlines()]
    assert len(documents(got)) == len(got) == 1811
    assert [one.text for one in got] == [article["text"] for article in articles]
    assert [one.native_id for one in got] == [f"a.jsonl#{article['id']}" for article in articles]


GOOD = {
    "a.html": HTML,
    "a.epub": book([chapter("first"), chapter("second")]),
    "a.pdf": pdf(["page"]),
    "a.docx": word(["paragraph"]),
    "a.warc": warc_of([("http://a/", "200 OK", [TYPE], HTML)], packed=False),
    "a.warc.gz": warc_of([("http://a/", "200 OK", [TYPE], HTML)]),
    "a.parquet": parquet([{"id": 1, "text": "text"}]),
}


@given(
    st.sampled_from(list(GOOD)),
    st.lists(st.tuples(st.integers(0, 100_000), st.binary(min_size=1, max_size=8)), max_size=4),
    st.integers(0, 100),
)
@settings(max_examples=200, deadline=None)
def test_no_damage_raises_anything(name, changes, keep):
    data = bytearray(GOOD[name])
    for at, new in changes:
        at %= len(data)
        data[at : at + len(new)] = new
    for one in found(name, bytes(data[: len(data) * keep // 90])):
        assert isinstance(one, RawDocument | Problem)


@given(st.text('<>/="&;!-? abdivp', max_size=60) | st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_page_or_a_problem(data):
    for one in found("a.html", data.encode() if isinstance(data, str) else data, tally=Tally()):
        assert isinstance(one, RawDocument | Problem)
    if isinstance(data, str):
        assert isinstance(text_of_page(data), str)
        extract("<p>x</p>")
