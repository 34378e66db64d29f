"""What differs between the Wikipedias: titles of sections that hold no prose, and names of disambiguation categories.

From the manuals of style of each Wikipedia. A language that is not listed has the English titles, which `drop_sections`
replaces.
"""

import re

_SECTIONS = {
    "en": "References|External links|See also|Further reading|Notes|Notes and references|References and notes|"
    "Footnotes|Citations|Sources|Bibliography|Works cited|Explanatory notes|Notes and citations|General references|"
    "Cited works|General and cited references|Cited sources|Literature cited|Endnotes|Gallery",
    "ar": "مراجع|المراجع|وصلات خارجية|روابط خارجية|انظر أيضا|انظر أيضًا|هوامش|ملاحظات|مصادر|المصادر|معرض صور|"
    "قراءة متعمقة",
    "ca": "Referències|Enllaços externs|Vegeu també|Bibliografia|Notes|Notes i referències|Galeria",
    "cs": "Reference|Externí odkazy|Související články|Literatura|Poznámky|Odkazy|Galerie",
    "da": "Referencer|Eksterne henvisninger|Se også|Litteratur|Noter|Kilder|Galleri",
    "de": "Einzelnachweise|Weblinks|Siehe auch|Literatur|Anmerkungen|Fußnoten|Quellen|Belege|"
    "Einzelnachweise und Anmerkungen|Anmerkungen und Einzelnachweise|Nachweise|Galerie",
    "es": "Referencias|Enlaces externos|Véase también|Bibliografía|Notas|Notas y referencias|Lecturas adicionales|"
    "Fuentes|Bibliografía adicional|Galería",
    "fa": "منابع|پیوند به بیرون|جستارهای وابسته|پانویس|یادداشت‌ها|نگارخانه",
    "fi": "Lähteet|Aiheesta muualla|Katso myös|Viitteet|Kirjallisuutta|Huomautukset",
    "fr": "Références|Liens externes|Voir aussi|Bibliographie|Notes|Notes et références|Articles connexes|Annexes|"
    "Lien externe|Article connexe|Sources|Galerie",
    "he": "הערות שוליים|קישורים חיצוניים|ראו גם|לקריאה נוספת|ביאורים|גלריה",
    "hu": "Források|Jegyzetek|További információk|Kapcsolódó szócikkek|Lásd még|Irodalom|Galéria",
    "id": "Referensi|Pranala luar|Lihat pula|Bacaan lanjutan|Catatan|Catatan kaki|Daftar pustaka|Rujukan",
    "it": "Note|Collegamenti esterni|Voci correlate|Bibliografia|Altri progetti|Galleria d'immagini",
    "ja": "脚注|出典|参考文献|外部リンク|関連項目|注釈|関連文献|注釈・出典|注記|ギャラリー",
    "ko": "각주|외부 링크|같이 보기|참고 문헌|참고문헌|주해|내용주|출처주|갤러리",
    "nl": "Referenties|Externe links|Externe link|Zie ook|Literatuur|Noten|Bronnen|Bronnen, noten en/of referenties|"
    "Voetnoten|Galerij",
    "no": "Referanser|Eksterne lenker|Se også|Litteratur|Noter|Kilder|Galleri",
    "pl": "Przypisy|Linki zewnętrzne|Zobacz też|Bibliografia|Uwagi|Literatura|Galeria",
    "pt": "Referências|Ligações externas|Ver também|Bibliografia|Notas|Notas e referências|Leitura adicional|"
    "Leitura complementar|Galeria",
    "ro": "Referințe|Legături externe|Vezi și|Bibliografie|Note|Note și referințe|Galerie",
    "ru": "Примечания|Ссылки|См. также|Литература|Источники|Комментарии|Галерея",
    "simple": "References|Other websites|Related pages|Notes|Sources|More reading|Further reading|Bibliography|Gallery|"
    "Footnotes|External links|See also",
    "sv": "Referenser|Externa länkar|Se även|Litteratur|Noter|Källor|Vidare läsning|Fotnoter|Galleri",
    "tr": "Kaynakça|Dış bağlantılar|Ayrıca bakınız|Notlar|Konuyla ilgili yayınlar|Galeri",
    "uk": "Примітки|Посилання|Див. також|Література|Джерела|Виноски|Коментарі|Галерея",
    "vi": "Tham khảo|Liên kết ngoài|Xem thêm|Đọc thêm|Ghi chú|Chú thích|Thư mục|Nguồn",
    "zh": "参考文献|參考文獻|参考资料|參考資料|外部链接|外部連結|外部連接|参见|參見|注释|註釋|延伸阅读|延伸閱讀|"
    "脚注|腳註|相关条目|相關條目|参考|參考|扩展阅读|注解|註解|画廊|圖庫",
}
_LIKE = {"nb": "no", "nn": "no", "zh-yue": "zh", "zh-classical": "zh", "be-tarask": "be"}

_DISAMBIGUATION = {
    "en": "All article disambiguation pages|All disambiguation pages|Disambiguation pages",
    "de": "Begriffsklärung",
    "es": "Wikipedia:Desambiguación",
    "fr": "Homonymie",
    "it": "Pagine di disambiguazione",
    "ja": "曖昧さ回避",
    "nl": "Wikipedia:Doorverwijspagina",
    "pl": "Strony ujednoznaczniające",
    "pt": "Desambiguação",
    "ru": "Страницы значений по алфавиту",
    "sv": "Förgreningssidor",
    "uk": "Багатозначні терміни",
    "zh": "消歧义",
}

_CATEGORY = re.compile(
    r"(?:category|kategorie|catégorie|categoría|categoria|categorie|kategoria|kategori|категория|категорія|分类|分類|"
    r"luokka|kategória|thể loại|분류|تصنيف|رده|קטגוריה)\s*:\s*",
    re.IGNORECASE,
)


def sections_without_prose(language: str) -> tuple[str, ...]:
    """Titles of the sections that are dropped unless the settings say otherwise."""
    known = _SECTIONS.get(_LIKE.get(language, language))
    return tuple((known or _SECTIONS["en"]).split("|"))


def disambiguation_categories(language: str) -> tuple[str, ...]:
    """Categories, without `Category:`, that mark a page that only lists what a word may mean."""
    known = _DISAMBIGUATION.get(_LIKE.get(language, language), "")
    return tuple(dict.fromkeys([*_DISAMBIGUATION["en"].split("|"), *filter(None, known.split("|"))]))


def category_title(name: str) -> str:
    """A category as every Wikipedia understands it, whether the settings name it with its prefix or without."""
    return (
        "Category:" + _CATEGORY.sub("", name.strip(), count=1) if _CATEGORY.match(name.strip()) else f"Category:{name}"
    )
