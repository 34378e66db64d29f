"""Personal data by type, and what nearly looks like them: made by hand, each thing to be found between ⟦ and ⟧.

Card numbers are those that processors publish for tests, IBANs the examples of SWIFT's registry, the rest is made up.
Keys are put together from parts, so that no scanner takes this file for a leak.
"""

import base64


def _token(number, second, third):
    return ".".join([base64.b64encode(number.encode()).decode().rstrip("="), second, third])


LETTERS, BASE62 = "QWXYZMNBVC2345PL", "aB3dE5fG7hI9jK1lM2nO4pQ6rS8tU0vWxYzZ" * 3
DISCORD = _token("800000000000000009", "Gabcde", "Zx9_-" * 7)
DISCORD_SHORT = _token("80351110224678912", "XcwYfg", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4"[:27])
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "SflKxwRJSMeKKF2QT4fwpMeJf36POk6y"
PEM_BODY = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"] * 3)


def pem(kind, body=PEM_BODY):
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----"


POSITIVE = {
    "email": """
Write to ⟦ann@example.org⟧ today.
⟦ann.lee@mail.example.co.uk⟧
Mail: ⟦a@b.io⟧, or ⟦c@d.museum⟧!
<⟦first.last+tag@sub-domain.example.com⟧>
[Ann](mailto:⟦ann@example.org⟧) is in.
mailto:⟦bob_smith@example.net⟧?subject=Hi
"⟦o'neill@example.ie⟧" wrote it
(⟦x99@9gag.com⟧)
Ask ⟦ANN@EXAMPLE.ORG⟧.
⟦jürgen@müller.de⟧ schrieb
Пишите на ⟦почта@пример.рф⟧, пожалуйста
连系⟦li@example.cn⟧，谢谢
邮箱⟦li@example.cn⟧是我的
contact:⟦info@example.info⟧;next
⟦100%real@example.com⟧ is odd but legal
user=⟦ann@example.org⟧&x=1
https://ann:⟦pass@host.example.com⟧/path
⟦ann@example.org⟧/⟦bob@example.org⟧
⟦a-b@x-y.example⟧... and so on
→⟦ann@example.org⟧←
*⟦ann@example.org⟧*
From: Ann Lee <⟦ann@lee.dev⟧> On Monday
⟦ann@xn--mller-kva.de⟧ is the same in ASCII
⟦1234567@qq.com⟧ is how they do it there
@⟦ann@social.example⟧ toots
Either ⟦ann@example.org⟧ or nobody@all
""",
    "phone": """
Call ⟦+1 555 234 5678⟧ now.
⟦+1 (415) 555-2671⟧ is mine
⟦+14155552671⟧
It is ⟦+44 20 7946 0958⟧, ask for Ann.
⟦+44 (0)20 7946 0958⟧ from abroad
⟦+49 30 1234567⟧ oder ⟦030 1234567⟧
⟦+49-151-23456789⟧
⟦+33 6 12 34 56 78⟧ en France
⟦+34 612 345 678⟧ en España
⟦+39 06 1234 5678⟧
⟦+7 (912) 345-67-89⟧
⟦+86 138 1234 5678⟧
⟦+91 98765 43210⟧
⟦+81-3-1234-5678⟧
⟦+55 11 91234-5678⟧
⟦+4915123456789⟧ geht auch
⟦+61 412 345 678⟧, g'day
(⟦+1-202-555-0143⟧)
⟦(555) 234-5678⟧
⟦(212)555-2368⟧ in a hurry
Reach me under ⟦212-555-2368⟧.
⟦212.555.2368⟧
⟦1-800-555-2368⟧ toll free
⟦1 (800) 555-2368⟧
⟦1.212.555.2368⟧
⟦020 7946 0958⟧
⟦(020) 7946 0958⟧
⟦07700 900123⟧ is my mobile
⟦0151 23456789⟧
⟦030/1234567⟧
⟦0711 - 123 45 67⟧
⟦01 23 45 67 89⟧
⟦01.23.45.67.89⟧
⟦06-12345678⟧ in Nederland
⟦03-1234-5678⟧
⟦0412 345 678⟧
⟦079 123 45 67⟧ in der Schweiz
⟦0049 30 1234567⟧
⟦0044 20 7946 0958⟧
⟦8 (912) 345-67-89⟧
⟦8-912-345-67-89⟧
⟦(11) 91234-5678⟧
⟦138-1234-5678⟧ in China
电话⟦138-1234-5678⟧是我的
⟦010-1234-5678⟧로
Phone: ⟦5552345678⟧
my phone number is ⟦555 234 5678⟧
Tel. ⟦12 34 56 78⟧ (Oslo)
WhatsApp me at ⟦98765 43210⟧!
call ⟦555-2368⟧ for ghosts
Telefon: ⟦123 456 789⟧
☎ ⟦234 5678⟧
mobile no. ⟦612345678⟧
Fax: ⟦234-5678⟧
call me on ⟦555 2368 11⟧ please
⟦(202) 456-1111⟧, ⟦(202) 456-1414⟧
""",
    "ip": """
from ⟦8.8.4.14⟧ again
host ⟦23.203.230.91⟧ answered
⟦93.184.216.34⟧:8080
http://⟦93.184.216.34⟧/index.html
He logs in from ⟦81.2.69.142⟧.
(⟦81.2.69.142⟧)
ban ⟦145.97.20.31⟧, ⟦145.97.20.32⟧
"⟦52.86.186.226⟧" GET /
ip=⟦52.86.186.226⟧
⟦81.2.69.142⟧/32
it was ⟦185.199.108.153⟧!
ping ⟦1.10.100.1⟧
[⟦66.249.66.1⟧] bot
⟦2001:0db7:85a3:0000:0000:8a2e:0370:7334⟧
⟦2a00:1450:4001:81b::200e⟧ is theirs
http://[⟦2a00:1450:4001:81b::200e⟧]:80/
⟦2606:4700:4700::1111⟧
⟦fe80::1ff:fe23:4567:890a⟧ on the wire
⟦fe80::1ff:fe23:4567:890a⟧%eth0
⟦fd12:3456:789a:1::1⟧
⟦2003:cd:1f0b:7800::1⟧.
peer ⟦2a02:8108:1:2:3:4:5:6⟧, port 5
⟦::ffff:81.2.69.142⟧
""",
    "card": """
⟦4111111111111111⟧
Card ⟦4111 1111 1111 1111⟧ exp 12/27
⟦4111-1111-1111-1111⟧
my visa is ⟦4012888888881881⟧.
⟦4222 222 222 222⟧ is an old one
⟦5555 5555 5555 4444⟧
⟦5105105105105100⟧
⟦2223003122003222⟧
⟦2222 4200 0000 1113⟧
⟦378282246310005⟧
⟦3782 822463 10005⟧ amex
⟦371449635398431⟧
⟦3714-496353-98431⟧
⟦6011111111111117⟧
⟦6011 0009 9013 9424⟧
⟦3530111333300000⟧
⟦3566 0020 2036 0505⟧
⟦30569309025904⟧
⟦3056 930902 5904⟧
⟦38520000023237⟧
⟦3622 720627 1667⟧
⟦6200000000000005⟧
⟦6205500000000000004⟧
pay with ⟦5425233430109903⟧, cvv 123
(⟦4917610000000000⟧)
⟦4000056655665556⟧ and ⟦5200828282828210⟧
""",
    "iban": """
⟦GB29 NWBK 6016 1331 9268 19⟧
⟦GB82WEST12345698765432⟧
IBAN: ⟦DE89 3704 0044 0532 0130 00⟧.
⟦DE89370400440532013000⟧
⟦FR14 2004 1010 0505 0001 3M02 606⟧
⟦CH93 0076 2011 6238 5295 7⟧
⟦NL91 ABNA 0417 1643 00⟧ bitte
⟦BE68 5390 0754 7034⟧
⟦ES91 2100 0418 4502 0005 1332⟧
⟦IT60 X054 2811 1010 0000 0123 456⟧
⟦NO93 8601 1117 947⟧
⟦SE45 5000 0000 0583 9825 7466⟧
⟦DK50 0040 0440 1162 43⟧
⟦FI21 1234 5600 0007 85⟧
⟦PL61 1090 1014 0000 0712 1981 2874⟧
⟦PT50 0002 0123 1234 5678 9015 4⟧
⟦AT61 1904 3002 3457 3201⟧
⟦IE29-AIBK-9311-5212-3456-78⟧
⟦LU28 0019 4006 4475 0000⟧
⟦CZ65 0800 0000 1920 0014 5399⟧
⟦MT84MALT011000012345MTLCAST001S⟧
⟦BR9700360305000010009795493P1⟧
⟦SA03 8000 0000 6080 1016 7519⟧
⟦TR33 0006 1005 1978 6457 8413 26⟧
⟦AE070331234567890123456⟧
⟦HU42 1177 3016 1111 1018 0000 0000⟧
⟦GR1601101250000000012300695⟧
to (⟦LC55HEMM000100010012001200023015⟧)
""",
}
POSITIVE = {name: text.strip().split("\n") for name, text in POSITIVE.items()}
POSITIVE["user"] = [
    "hi ⟦<@123456789012345678>⟧",
    "⟦<@!123456789012345678>⟧ and ⟦<@12345678901234567>⟧",
    "⟦<@800000000000000001>⟧⟦<@800000000000000002>⟧",
    "ask ⟦@123456789012345678⟧.",
    "(⟦@1234567890123456789⟧)",
    "thanks ⟦u/example_user⟧!",
    "⟦/u/example_user⟧ said so",
    "cc ⟦u/some-body⟧, ⟦u/no_body99⟧",
    "“⟦u/spez⟧”",
    "[⟦u/ann_of_somewhere⟧](x)",
    "https://www.reddit.com⟦/u/example_user⟧",
    "old.reddit.com⟦/u/example_user⟧/comments",
    "⟦u/Bakelodirux⟧ is one letter longer than made names",
    "⟦u/bakelodiru⟧ begins small",
    "Danke,⟦u/wer_auch_immer⟧",
    "> ⟦u/quoted_one⟧ wrote",
    "⟦/u/AnnLee2⟧: yes",
    "by ⟦u/Speakerphone⟧",
    "ping ⟦<@1234567890123456789>⟧, now",
    "*⟦u/starry_night⟧*",
]
POSITIVE["secret"] = [
    f"aws ⟦{'AKIA' + LETTERS}⟧",
    f"key=⟦{'ASIA' + LETTERS}⟧;",
    f"⟦{'gh' + 'p_' + BASE62[:36]}⟧",
    f"⟦{'gh' + 'o_' + BASE62[:36]}⟧ leaked",
    f"GH_TOKEN=⟦{'gh' + 's_' + BASE62[:40]}⟧",
    f"⟦{'github' + '_pat_' + BASE62[:22] + '_' + BASE62[:59]}⟧",
    f"slack ⟦{'xox' + 'b-123456789012-1234567890123-' + BASE62[:24]}⟧",
    f"⟦{'xox' + 'p-123456789012-123456789012-123456789012-' + 'a1b2' * 8}⟧",
    f"⟦{'xox' + 'e.xox' + 'p-1-' + BASE62[:80]}⟧",
    f"⟦{'sk' + '-' + BASE62[:48]}⟧",
    f"OPENAI_API_KEY='⟦{'sk' + '-proj-' + BASE62[:30] + '_' + BASE62[:30]}⟧'",
    f"⟦{'sk' + '-ant-api03-' + BASE62[:40] + '-' + BASE62[:40]}⟧",
    f"⟦{'sk' + '-or-v1-' + '0123456789abcdef' * 4}⟧",
    f"?key=⟦{'AIza' + BASE62[:35]}⟧&v=1",
    f"Authorization: Bearer ⟦{JWT}⟧",
    f"⟦{JWT}⟧.",
    f"bot token ⟦{DISCORD}⟧",
    f"'⟦{DISCORD_SHORT}⟧'",
    f"⟦{pem('RSA ')}⟧",
    f"so:\n⟦{pem('')}⟧\nand more",
    f"⟦{pem('OPENSSH ')}⟧",
    f"⟦{pem('EC ')}⟧ and ⟦{pem('ENCRYPTED ')}⟧",
    f"⟦{pem('').partition('-----END')[0].strip()}⟧\nwas cut",
    f"⟦{pem('', PEM_BODY.replace(chr(10), chr(92) + 'n')).replace(chr(10), chr(92) + 'n')}⟧",
]

NEGATIVE = {
    "email": """
@ann is here
user@localhost
see git@github.com:ann/repo.git
icon@2x.png and icon@3x.webp
lodash@4.17.21
a @ b.com
meet @ noon
ann@ example.org
ann@example
@app.route("/x")
a@b..com
x = y @ z
.@example
pkg@latest
me@home
@media (min-width: 3em) { a.b { c: d } }
5 apples @ $3.50
ann at example dot org
logo@2x.jpg
@@ -1,7 +1,8 @@ def f.x
""",
    "phone": """
the war of 1914-1918
1914 - 1918 and 1939-1945
in 2019/2020 or 2020-21
ISBN 978-3-16-148410-0
ISBN 0-306-40615-2
ISBN 9780306406157
3.14159265358979
0.123456789
1,234,567.89
1.234.567,89
12 345 678 people
population 1 234 567 890
2023-01-15 10:30:45
2023-01-15T10:30:45.123456Z
01.02.2023
01.02.2023 10.30
01/02/2023 1000
12/31/1999
31-12-1999
10:30-11:45
5551234567
1234567890123
the code is 12345678
$555-234-5678
$1 234 567
€ 030 1234567
f47ac10b-58cc-4372-a567-0e02b2c3d479
550e8400-e29b-41d4-a716-446655440000
d41d8cd98f00b204e9800998ecf8427e
51.5074, -0.1278
40.7128° N, 74.0060° W
48.85661400, 2.35222190
SSN 078-05-1120
1-800-FLOWERS
order 4-123-55
10-20-30-40
1 2 3 4 5 6 7 8 9 10
7 14 21 28 35 42
RFC 2119, 8174
pages 100-200, 300-400
ISSN 0317-8471
v2.0.1.2345
x+1234567
a += 10 - 20 - 30
2^31 = 2147483648
from 100 000 to 200 000
temperatures of 10-15-20 degrees
EAN 4006381333931
id 212-555-23689
A-212-555-2368
+5 points
+100
+1 000 000
+25 000 000
UTC+01:00
GMT+0100 (CET)
1.5-2.5 mg
3-0 4-1 2-2
100/200/300
phone 6 and 7
call 911
the mobile market of 2014-2018
on the phone 2015-03-04
mobile/2015/03/4
05.12.2023 - 07.12.2023
#0301234567
0xdeadbeef 0123456
""",
    "ip": """
127.0.0.1
localhost 127.0.1.1
0.0.0.0
255.255.255.0
255.255.255.255
192.168.1.1
10.0.0.17
172.16.254.1
192.0.2.44
198.51.100.23
203.0.113.9
224.0.0.251
1.2.3.4
version 10.20.30.41
v10.20.30.41
Chrome/91.0.447.124
Firefox/115.12.13.14
Section 10.2.3.14
§ 12.3.4.15
256.300.1.2
81.2.69
81.2.69.142.7
93.184.216.0/24
01.02.03.04
::1
::
2001:db8::1
2001:db8:85a3::8a2e:370:7334
std::vector<int>
a::b
abc::def
Foo::Bar::baz()
x[1::2]
x[::-1]
12:30:45
00:1a:2b:3c:4d:5e
ratio 1:2:3
fe::ed
ff02::1
""",
    "card": """
4111111111111112
4111 1111 1111 1112
5555 5555 5555 4445
378282246310006
1234567812345678
0000 0000 0000 0000
4111 1111 1111
41111111111111111111
9999999999999995
1700000000000000000
123456789012345678
800000000000000001
4006381333931
4111.1111.1111.1111
4111 1111-1111 1111
1111222233334444
6011111111111118
3530111333300001
20230102030405
4444 hits, 3333 misses
a4111111111111111
""",
    "iban": """
GB29 NWBK 6016 1331 9268 18
DE88 3704 0044 0532 0130 00
GB82WEST1234569876543
XX82WEST12345698765432
FR14 2004 1010 0505 0001 3M02 607
NL91ABNA0417164301
DE89
MP3 AND MP4 FILES
ISO 13616 AND ISO 9362
AB12 CDE
gb82west12345698765432
XGB82WEST12345698765432
GB82WEST123456987654321
BE68539007547035
""",
    "user": """
<@123>
<#123456789012345678>
<:smile:123456789012345678>
123456789012345678
@12345
u/Bakelodiru said
/u/Bakelodiru, again
u/Speaker 1 wrote
menu/bar
/home/u/name
~/u/name
src/u/main.c
5 u/min
100 u/liter
u/a
u/[deleted]
you/she
../u/name
tau/sigma
u/dir/file
""",
    "secret": """
risk-averse people, desk-bound
sk-learn
sk-this-is-a-long-name-of-a-package-indeed
xoxo-kisses
xoxo
AKIA
AKIAlowercaseletters
ghp_short
the ghp_ prefix
github_pat_
eyJ
eyJhbGciOiJIUzI1NiJ9
AIzatooshort
a.bcdefg.hijk
www.google.com.search-this-is-a-long-tail-of-a-name
-----BEGIN CERTIFICATE-----
-----BEGIN PRIVATE KEY----- and -----END PRIVATE KEY-----
-----BEGIN PUBLIC KEY-----
da39a3ee5e6b4b0d3255bfef95601890afd80709
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
550e8400-e29b-41d4-a716-446655440000
<|endoftext|>
<EMAIL> <PHONE> <IP> <CARD> <IBAN> <SECRET> <USER>
""",
}
NEGATIVE = {name: text.strip().split("\n") for name, text in NEGATIVE.items()}
