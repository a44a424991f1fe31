"""Cases of RFC 9309, one a row: which file lets `testbot` fetch which path, and which line it was.

`|` between two blanks stands for the end of a line. A path is as a page would link to it: it is made canonical first.
`denied_by` is the number of the line that denies it, None: it may be fetched.
"""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    section: str
    what: str
    file: str | bytes
    path: str
    denied_by: int | None

    @property
    def body(self) -> bytes:
        text = self.file.encode() if isinstance(self.file, str) else self.file
        return text.replace(b" | ", b"\n")


def _for_all(section: str, *rows: tuple[str, str | bytes, str, int | None]) -> list[Case]:
    """Rows whose rules are for all: line 1 is `User-agent: *`."""
    return [
        Case(section, what, (b"User-agent: * | " if isinstance(rules, bytes) else "User-agent: * | ") + rules, *rest)  # type: ignore[operator]
        for what, rules, *rest in rows
    ]


def _whole(section: str, *rows: tuple[str, str | bytes, str, int | None]) -> list[Case]:
    return [Case(section, *row) for row in rows]


GROUPS = _whole(
    "2.2.1",
    ("star", "User-agent: * | Disallow: /a", "/a", 2),
    ("own group", "User-agent: testbot | Disallow: /a", "/a", 2),
    ("own group instead of star", "User-agent: * | Disallow: / | User-agent: testbot | Disallow: /b", "/a", None),
    ("own group before star", "User-agent: testbot | Allow: / | User-agent: * | Disallow: /", "/a", None),
    ("own rules are not added to star's", "User-agent: * | Disallow: /a | User-agent: testbot | Disallow: /b", "/b", 4),
    ("own group without rules", "User-agent: * | Disallow: / | User-agent: x | Disallow: /x | User-agent: testbot", "/a", None),
    ("own group, empty Disallow", "User-agent: testbot | Disallow: | User-agent: * | Disallow: /", "/a", None),
    ("own group, rules without meaning", "User-agent: testbot | Noindex: / | Disallow: | User-agent: * | Disallow: /", "/a", None),
    ("no group for us", "User-agent: other | Disallow: /", "/a", None),
    ("no group at all", "Sitemap: http://h.example/s.xml", "/a", None),
    ("capitals in the file", "User-agent: TESTBOT | Disallow: /", "/a", 2),
    ("whole: not our beginning", "User-agent: test | Disallow: /", "/a", None),
    ("whole: not our end", "User-agent: bot | Disallow: /", "/a", None),
    ("whole: nothing longer", "User-agent: testbot-news | Disallow: /", "/a", None),
    ("whole: nothing longer, underscore", "User-agent: testbot_news | Disallow: /", "/a", None),
    ("whole: nothing longer, digit", "User-agent: testbot2 | Disallow: /", "/a", None),
    ("whole: not inside a longer one", "User-agent: my-testbot | Disallow: /", "/a", None),
    ("a shorter name does not hide star", "User-agent: test | Allow: / | User-agent: * | Disallow: /", "/a", 4),
    ("with a version", "User-agent: testbot/2.1 | Disallow: /", "/a", 2),
    ("with a version, and star", "User-agent: * | Allow: / | User-agent: TestBot/2.1 | Disallow: /", "/a", 4),
    ("with words after it", "User-agent: testbot (the crawler) | Disallow: /", "/a", 2),
    ("with a semicolon after it", "User-agent: testbot; all versions | Disallow: /", "/a", 2),
    ("with a star after it", "User-agent: testbot* | Disallow: /", "/a", 2),
    ("a User-Agent that only mentions us", "User-agent: Mozilla/5.0 (compatible; testbot/1.0) | Disallow: /", "/a", None),
    ("star with a comment", "User-agent: *# all | Disallow: /", "/a", 2),
    ("star with words", "User-agent: * everybody | Disallow: /", "/a", 2),
    ("star with letters is no star", "User-agent: *bot | Disallow: /", "/a", None),
    ("an empty name is nobody", "User-agent: | Disallow: /", "/a", None),
    ("an empty name ends the group above", "User-agent: testbot | Disallow: /b | User-agent: | Disallow: /", "/a", None),
    ("names together: first", "User-agent: testbot | User-agent: y | Disallow: /", "/a", 3),
    ("names together: last", "User-agent: x | User-agent: testbot | Disallow: /", "/a", 3),
    ("names together: us and star", "User-agent: * | User-agent: testbot | Disallow: /", "/a", 3),
    ("names apart by blank lines", "User-agent: x |  |  | User-agent: testbot |  | Disallow: /", "/a", 6),
    ("names apart by a comment", "User-agent: testbot | # and | User-agent: y | Disallow: /", "/a", 4),
    ("a rule ends the names", "User-agent: testbot | Disallow: /b | User-agent: y | Disallow: /", "/a", None),
    ("an empty rule ends the names", "User-agent: testbot | Disallow: | User-agent: y | Disallow: /", "/a", None),
    ("a rule that matches nothing ends them", "User-agent: testbot | Allow: x | User-agent: y | Disallow: /", "/a", None),
    ("merged: the first", "User-agent: testbot | Disallow: /a | User-agent: z | Disallow: / | User-agent: testbot | Disallow: /b", "/a", 2),
    ("merged: the second", "User-agent: testbot | Disallow: /a | User-agent: z | Disallow: / | User-agent: testbot | Disallow: /b", "/b", 6),
    ("merged: longest of both", "User-agent: testbot | Disallow: /a | User-agent: testbot | Allow: /a/b", "/a/b", None),
    ("merged whatever the case and version", "User-agent: TestBot/1 | Disallow: /a | User-agent: testbot | Allow: /b", "/a", 2),
    ("merged: star", "User-agent: * | Disallow: /a | User-agent: z | Allow: / | User-agent: * | Disallow: /b", "/a", 2),
    ("a blank line does not end a group", "User-agent: * |  | Disallow: /b |  | Disallow: /a", "/a", 5),
)  # fmt: skip

RULES = _for_all(
    "2.2.2",
    ("nothing matches", "Disallow: /a | Allow: /b", "/c", None),
    ("only Allow", "Allow: /a", "/c", None),
    ("a prefix is enough", "Disallow: /fish", "/fishheads/yummy.html", 2),
    ("a prefix of the query is enough", "Disallow: /fish", "/fish.php?id=1", 2),
    ("a directory is not its name", "Disallow: /fish/", "/fish", None),
    ("... and all below it", "Disallow: /fish/", "/fish/salmon.html", 2),
    ("from the first octet", "Disallow: /fish", "/cat/fish", None),
    ("case counts", "Disallow: /Fish", "/fish", None),
    ("all", "Disallow: /", "/", 2),
    ("all: a query alone", "Disallow: /", "/?a=b", 2),
    ("an empty Disallow", "Disallow:", "/a", None),
    ("an empty Allow", "Disallow: / | Allow:", "/a", 2),
    ("robots.txt itself", "Disallow: /", "/robots.txt", None),
    ("... but no other", "Disallow: /", "/a/robots.txt", 2),
    ("... nor with a query", "Disallow: /", "/robots.txt?a=b", 2),
    ("longest: Allow", "Disallow: /a | Allow: /a/b", "/a/b/c", None),
    ("longest: Disallow", "Allow: /a | Disallow: /a/b", "/a/b", 3),
    ("longest, whatever the order", "Allow: /a/b | Disallow: /a", "/a/b", None),
    ("longest of three", "Disallow: /a | Allow: /a/b | Disallow: /a/b/c", "/a/b/c", 4),
    ("longest of those that match", "Disallow: /a | Allow: /a/long", "/a/b", 2),
    ("as long: Allow", "Disallow: /a | Allow: /a", "/a", None),
    ("as long: Allow first", "Allow: /a | Disallow: /a", "/a", None),
    ("as long: the first Disallow is named", "Disallow: /a | Disallow: /a", "/a", 2),
    ("as long, other patterns: Allow", "Allow: /page | Disallow: /*.ph", "/page.php5", None),
    ("longer by its star", "Allow: /page | Disallow: /*.htm", "/page.htm", 3),
    ("longer by its dollar", "Allow: /a | Disallow: /a$", "/a", 3),
    ("measured in octets: two spellings", "Disallow: /%E3%83%84 | Allow: /ツ", "/ツ", None),
    ("measured in octets: escaped letters", "Disallow: /%61%62 | Allow: /ab", "/ab", None),
    ("measured in octets: one letter beyond ASCII is many", "Allow: /*aaaa | Disallow: /ツ", "/ツaaaa", 3),
    ("the query is part of it", "Disallow: /a?x=1", "/a?x=1&y=2", 2),
    ("... and can be missed", "Disallow: /a?x=1", "/a", None),
    ("relative pattern", "Disallow: a", "/a", None),
    ("URL as pattern", "Disallow: http://h.example/a", "/a", None),
    ("two slashes", "Disallow: //a", "/a", None),
)  # fmt: skip

ENCODING = _for_all(
    "2.2.2 percent-encoding",
    ("the RFC's table, 1", "Disallow: /foo/bar?baz=quz", "/foo/bar?baz=quz", 2),
    ("the RFC's table, 2", "Disallow: /foo/bar?baz=https://foo.bar", "/foo/bar?baz=https%3A%2F%2Ffoo.bar", 2),
    ("... the other way round", "Disallow: /foo/bar?baz=https%3a%2f%2ffoo.bar", "/foo/bar?baz=https://foo.bar", 2),
    ("the RFC's table, 3", "Disallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", 2),
    ("the RFC's table, 4", "Disallow: /foo/bar/%E3%83%84", "/foo/bar/ツ", 2),
    ("the RFC's table, 5", "Disallow: /foo/bar/%62%61%7A", "/foo/bar/baz", 2),
    ("... the other way round", "Disallow: /foo/bar/baz", "/foo/bar/%62%61%7A", 2),
    ("hexadecimal digits in any case", "Disallow: /%e3%83%84", "/%E3%83%84", 2),
    ("... in the URL", "Disallow: /%E3%83%84", "/%e3%83%84", 2),
    ("half a character of UTF-8", "Disallow: /%E3", "/ツ", 2),
    ("Latin-1", b"Disallow: /caf\xe9", "/caf%E9", 2),
    ("Latin-1 is not UTF-8", b"Disallow: /caf\xe9", "/café", None),
    ("composed is not decomposed", "Disallow: /caf\u00e9", "/cafe\u0301", None),
    ("a tilde", "Disallow: /%7Ejoe/", "/~joe/", 2),
    ("a tilde in the URL", "Disallow: /~joe/", "/%7ejoe/", 2),
    ("a dash", "Disallow: /foo%2Dbar", "/foo-bar", 2),
    ("a slash in a path", "Disallow: /a/b", "/a%2Fb", None),
    ("... the other way round", "Disallow: /a%2Fb", "/a/b", None),
    ("... both", "Disallow: /a%2fb", "/a%2Fb", 2),
    ("a question mark in a path", "Disallow: /a?b", "/a%3Fb", None),
    ("... the other way round", "Disallow: /a%3Fb", "/a?b", None),
    ("... both", "Disallow: /a%3fb", "/a%3Fb", 2),
    ("a colon and an at sign in a path", "Disallow: /a%3Ab%40c", "/a:b@c", 2),
    ("... the other way round", "Disallow: /a:b@c", "/a%3Ab%40c", 2),
    ("a semicolon", "Disallow: /a;b", "/a%3Bb", 2),
    ("an equals sign in a value", "Disallow: /a?b=c=d", "/a?b=c%3Dd", 2),
    ("a question mark in a query", "Disallow: /a?b=c?d", "/a?b=c%3Fd", 2),
    ("a slash in a query", "Disallow: /a?b=/c", "/a?b=/c", 2),
    ("a blank in a path", "Disallow: /a b", "/a%20b", 2),
    ("a blank in a path is no plus", "Disallow: /a+b", "/a%20b", None),
    ("a blank in a query", "Disallow: /a?b=c%20d", "/a?b=c+d", 2),
    ("... the other way round", "Disallow: /a?b=c+d", "/a?b=c%20d", 2),
    ("an escaped percent sign", "Disallow: /100%25", "/100%", 2),
    ("a percent sign alone", "Disallow: /100%", "/100%25", 2),
    ("no escape", "Disallow: /a%zz", "/a%zz", 2),
    ("escaped twice", "Disallow: /%2541", "/A", None),
    ("escaped twice, both", "Disallow: /%2541", "/%2541", 2),
    ("an escaped star is a star", "Disallow: /a-%2A.html", "/a-*.html", 2),
    ("... and nothing else", "Disallow: /a-%2A.html", "/a-b.html", None),
    ("an escaped dollar is a dollar", "Disallow: /a-%24", "/a-$b", 2),
    ("... and no end", "Disallow: /a-%24", "/a-", None),
    ("an escaped number sign", "Disallow: /a%23b", "/a%23b", 2),
    ("after a star: a slash of a query", "Disallow: /*u=%2Fa", "/x?u=/a", 2),
    ("... plain", "Disallow: /*u=/a", "/x?u=%2Fa", 2),
    ("after a star: a slash of a path", "Disallow: /*%2Fa", "/x%2fa", 2),
    ("... not plain", "Disallow: /*%2Fa", "/x/a", None),
    ("... neither in the path before a query", "Disallow: /*%2Fa", "/x/a?b=c", None),
    ("after a star: a blank of a query", "Disallow: /*&q=a%20b$", "/x?p=1&q=a+b", 2),
    ("after a star and a question mark", "Disallow: /*?*u=http%3A%2F%2F", "/x?u=http://a", 2),
)  # fmt: skip

SPECIAL = _for_all(
    "2.2.3",
    ("a comment after a rule", "Disallow: /a # this", "/a", 2),
    ("a comment without blank", "Disallow: /a#this", "/a", 2),
    ("a rule in a comment", "# Disallow: /a", "/a", None),
    ("star in the middle", "Disallow: /a/*/c", "/a/b/c", 2),
    ("star across directories", "Disallow: /a/*/c", "/a/b/b/c", 2),
    ("star for nothing", "Disallow: /a*b", "/ab", 2),
    ("star, what follows is missing", "Disallow: /a*b", "/ac", None),
    ("star, what follows comes before", "Disallow: /a*b", "/ba", None),
    ("star into the query", "Disallow: /*sort=", "/a?sort=b", 2),
    ("star and question mark", "Disallow: /*?", "/a?b=c", 2),
    ("star and question mark, none there", "Disallow: /*?", "/a", None),
    ("star at the beginning", "Disallow: *.gif", "/x/y.gif", 2),
    ("star at the end", "Disallow: /fish*", "/fish", 2),
    ("star alone", "Disallow: *", "/a", 2),
    ("slash and star", "Disallow: /*", "/", 2),
    ("stars side by side", "Disallow: /a**b", "/axb", 2),
    ("the RFC's example", "Disallow: /path/file-with-a-*.html", "/path/file-with-a-b.html", 2),
    ("two stars, the second has too little", "Disallow: /*ab*ab", "/ab", None),
    ("... enough", "Disallow: /*ab*ab", "/abab", 2),
    ("overlapping is not enough", "Disallow: /*aba*aba", "/ababa", None),
    ("dollar: the end", "Disallow: /*.php$", "/x/y.php", 2),
    ("dollar: not the end", "Disallow: /*.php$", "/x/y.php?z=1", None),
    ("dollar: the end comes twice", "Disallow: /*.php$", "/x.php/y.php", 2),
    ("dollar: no overlap", "Disallow: /*aa*a$", "/aa", None),
    ("dollar without star", "Disallow: /a$", "/a", 2),
    ("dollar without star, longer", "Disallow: /a$", "/ab", None),
    ("dollar on the root", "Disallow: / | Allow: /$", "/", None),
    ("... only there", "Disallow: / | Allow: /$", "/a", 2),
    ("dollar in the middle", "Disallow: /a$b", "/a$bc", 2),
    ("... is no end", "Disallow: /a$b", "/a", None),
    ("two dollars", "Disallow: /a$$", "/a$", 2),
    ("star and dollar at the end", "Disallow: /a*$", "/abc", 2),
    ("dollar is no dollar in the URL", "Disallow: /a$", "/a$", None),
)  # fmt: skip

OTHER_RECORDS = _whole(
    "2.2.4",
    ("Sitemap does not end names", "User-agent: testbot | Sitemap: http://h.example/s | User-agent: z | Disallow: /", "/a", 4),
    ("Sitemap does not end a group", "User-agent: * | Disallow: /b | Sitemap: http://h.example/s | Disallow: /a", "/a", 4),
    ("Sitemap before all", "Sitemap: http://h.example/s | User-agent: * | Disallow: /a", "/a", 3),
    ("an unknown record in a group", "User-agent: * | Noindex: /x | Disallow: /a", "/a", 3),
    ("an unknown record between names", "User-agent: testbot | Host: h.example | User-agent: z | Disallow: /", "/a", 4),
    ("Crawl-delay does not end names", "User-agent: testbot | Crawl-delay: 1 | User-agent: z | Disallow: /", "/a", 4),
    ("Crawl-delay between rules", "User-agent: * | Disallow: /b | Crawl-delay: 1 | Disallow: /a", "/a", 4),
)  # fmt: skip

SPELLING = _whole(
    "2.2 and 2.3",
    ("empty", "", "/a", None),
    ("blank", " \t\r\n \n", "/a", None),
    ("only comments", "# nothing | #Disallow: /", "/a", None),
    ("HTML", "<html><body>\nUser-agent: all of them\nDisallow: /</body></html>", "/a", None),
    ("rules before any group", "Disallow: / | User-agent: other | Disallow: /", "/a", None),
    ("... do not belong to the next", "Disallow: /a | User-agent: * | Disallow: /b", "/a", None),
    ("a byte order mark", b"\xef\xbb\xbfUser-agent: * | Disallow: /a", "/a", 2),
    ("a byte order mark before a comment", b"\xef\xbb\xbf# x\nUser-agent: * | Disallow: /a", "/a", 3),
    ("a byte order mark inside, of two files joined", b"# one\n\xef\xbb\xbfUser-agent: * | Disallow: /a", "/a", 3),
    ("UTF-16, little end first", "\ufeffUser-agent: *\r\nDisallow: /ä".encode("utf-16-le"), "/ä", 2),
    ("UTF-16, big end first", "\ufeffUser-agent: *\nDisallow: /ä".encode("utf-16-be"), "/ä", 2),
    ("CR LF", "User-agent: *\r\nDisallow: /a\r\n", "/a", 2),
    ("CR alone", "User-agent: *\rDisallow: /a\r", "/a", 2),
    ("CR, then LF CR", "User-agent: *\r\n\rDisallow: /a\r", "/a", 3),
    ("U+2028 is no line end", "User-agent: * | Disallow: /b\u2028Disallow: /a", "/a", None),
    ("U+0085 is no line end", "User-agent: * | Disallow: /b\u0085Disallow: /a", "/a", None),
    ("a form feed is no line end", "User-agent: * | Disallow: /b\x0cDisallow: /a", "/a", None),
    ("no line end at the end", "User-agent: * | Disallow: /a", "/a", 2),
    ("blanks everywhere", "  User-agent :  *  \n\t Disallow :\t/a  ", "/a", 2),
    ("no blank after the colon", "User-agent:*\nDisallow:/a", "/a", 2),
    ("capitals in field names", "USER-AGENT: * | DISALLOW: /a", "/a", 2),
    ("no-break space before the pattern", "User-agent: * | Disallow:\u00a0/a", "/a", 2),
    ("no-break space before the name", "User-agent:\u00a0* | Disallow: /a", "/a", 2),
    ("ideographic space before the field", "User-agent: * | \u3000Disallow: /a", "/a", 2),
    ("no-break space after a pattern is part of it", "User-agent: * | Disallow: /a\u00a0", "/a", None),
    ("NUL at the end", b"User-agent: * | Disallow: /a\0", "/a", 2),
    ("NUL in the middle is an octet", b"User-agent: * | Disallow: /a\0b", "/a%00b", 2),
    ("misspelled", "Useragent: * | Dissallow: /a", "/a", 2),
    ("misspelled in other ways", "User agent: * | Disalow: /a", "/a", 2),
    ("too misspelled", "User-agent: * | Deny: /a", "/a", None),
    ("no colon", "User-agent * | Disallow /a", "/a", 2),
    ("no colon, one in the pattern", "User-agent * | Disallow /a:b", "/a:b", 2),
    ("no colon, no value", "User-agent: * | Disallow | Disallow: /b", "/a", None),
    ("a colon too many", "User-agent: * | Disallow:: /a", "/a", None),
    ("begins like UTF-16 and is none", b"\xff\xfe\xfd | User-agent: * | \xc3\x28: x\nDisallow: /a", "/a", 4),
    ("invalid UTF-8 in other lines", b"# \xff\xfe\xfd\nUser-agent: * | \xc3\x28: x\nDisallow: /a", "/a", 4),
    ("a very long line", "User-agent: * | Disallow: /" + "b" * 70_000 + " | Disallow: /a", "/a", 3),
    ("patterns on one line are one pattern", "User-agent: * | Disallow: /a /b", "/a", None),
)  # fmt: skip

CASES = [*GROUPS, *RULES, *ENCODING, *SPECIAL, *OTHER_RECORDS, *SPELLING]
