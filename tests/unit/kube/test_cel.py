"""Expressions: what they give, what they may cost, what is refused before they run; and agreement with another CEL."""

from __future__ import annotations

from typing import Any

import pytest

from lightship.kube import cel

DATA = {"a": 5, "f": 1.5, "s": "abc", "l": ["ab", "b"], "n": [1, 2, 3], "m": {"x": 1, "y": 2}, "o": {"b": True},
        "nil": None, "foo-bar": 7, "namespace": "ns", "empty": []}

SHARED = [
    ('self.a > 3', True), ('has(self.a)', True), ('has(self.zzz)', False), ('!has(self.o.c)', True),
    ("self.l.all(x, x.startsWith('a'))", False), ("self.l.exists(x, x == 'b')", True),
    ("self.l.exists_one(x, x == 'b')", True), ("self.l.map(x, x + 'c')", ['abc', 'bc']),
    ('self.l.filter(x, x.size() == 1)', ['b']), ('self.n.map(x, x > 1, x * 2)', [4, 6]),
    ('self.m.all(k, self.m[k] > 0)', True), ('size(self.l)', 2),
    ("self.s.contains('b') && self.s.endsWith('c')", True), ("self.s.matches('^[a-c]+$')", True),
    ("'x' in self.m", True), ('2 in self.n', True), ('self.a in [1, 5]', True), ('1 == 1.0', True),
    ('self.f > 1', True), ('7 / 2', 3), ('-7 / 2', -3), ('-7 % 3', -1), ('2 + 3 * 4 - 1', 13), ('1.5 * 2.0', 3.0),
    ("'a' + 'b'", 'ab'), ('[1] + [2]', [1, 2]), ("self.a == 5 ? 'x' : 'y'", 'x'), ('true || self.zzz', True),
    ('false && self.zzz', False), ('self.zzz == 1 || true', True), ('type(self.a) == int', True),
    ('type(self.s) == string', True), ('self.nil == null', True), ('self.n[0]', 1), ("self['s']", 'abc'),
    ('string(1)', '1'), ("int('12')", 12), ("double('1.5')", 1.5), ("duration('1h') > duration('59m')", True),
    ("b'abc' == b'abc'", True), ('"a\\nb"', 'a\nb'), ("r'a\\nb'", 'a\\nb'),
    ("timestamp('2024-01-01T00:00:00Z') < timestamp('2024-01-02T00:00:00Z')", True), ('[1, 2] == [1, 2]', True),
    ("{'a': 1} == {'a': 1}", True), ('!(self.a < 3)', True),
    ('self.n.exists(x, x > 2) && !self.n.all(x, x > 2)', True), ('self.o.b', True), ('1 < 2 == true', True),
    ('self.l.all(x, self.l.exists(y, x == y))', True), ('has(self.o.b) && self.o.b', True),
    ("size('') == 0 && size(self.empty) == 0", True),
]


def value(source: str, budget: int = 100_000) -> Any:
    return cel.compile(source, {"self": cel.DYN}).run({"self": DATA}, budget)[0]


@pytest.mark.parametrize(("source", "wanted"), SHARED)
def test_it_agrees_with_another_implementation(source: str, wanted: Any) -> None:
    """The values are what common-expression-language 0.10 (in Rust) gives."""
    assert value(source) == wanted


@pytest.mark.parametrize(("source", "wanted"), [
    ("self.?a.orValue(3)", 5), ("self.?zzz.orValue(3)", 3), ("self.?o.?c.hasValue()", False), ("self[?'a'].value()", 5),
    ("self.?a.optMap(x, x + 1).orValue(0)", 6), ("optional.none().or(optional.of(2)).value()", 2),
    ("{?'a': self.?zzz, 'b': 1}", {"b": 1}), ("[?self.?a, 1]", [5, 1]),
    ("optional.ofNonZeroValue('').hasValue()", False),
    ("self.`foo-bar`", 7), ("'é'.size()", 1),
    ("'a,b'.split(',')", ["a", "b"]), ("'a,b,c'.split(',', 2)", ["a", "b,c"]), ("self.l.join('-')", "ab-b"),
    ("'Abc'.lowerAscii() + 'x'.upperAscii()", "abcX"), ("'abc'.substring(1, 2)", "b"), ("' a '.trim()", "a"),
    ("'abcabc'.indexOf('c')", 2), ("'abcabc'.lastIndexOf('a')", 3), ("'aXbX'.replace('X', '-', 1)", "a-bX"),
    ("'%s is %d of %.2f'.format(['a', 3, 1.5])", "a is 3 of 1.50"), ("'a1b22'.find('[0-9]+')", "1"),
    ("'a1b22'.findAll('[0-9]+')", ["1", "22"]), ("self.n.sum()", 6), ("self.n.max() - self.n.min()", 2),
    ("self.n.isSorted()", True), ("['b', 'a'].isSorted()", False), ("self.n.indexOf(3)", 2),
    ("isURL('https://a.b/c') && !isURL('a b')", True), ("url('https://u@a.b:80/c?d=e').getHost()", "a.b:80"),
    ("url('https://a.b:80/c').getPort()", "80"), ("url('https://[::1]:80/c').getHostname()", "::1"),
    ("quantity('1Gi').isGreaterThan(quantity('1G'))", True), ("quantity('1500m').asApproximateFloat()", 1.5),
    ("quantity('2k').add(quantity('1')).asInteger()", 2001), ("isQuantity('1.5.2')", False),
    ("quantity('1').compareTo(quantity('1000m'))", 0), ("ip('10.0.0.1').family()", 4), ("isIP('10.0.0.300')", False),
    ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", True), ("cidr('10.0.0.0/8').containsCIDR('11.0.0.0/16')", False),
    ("isCIDR('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8", True), ("ip('127.0.0.1').isLoopback()", True),
    ("semver('1.2.3').isLessThan(semver('1.10.0'))", True), ("semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))", True),
    ("sets.contains([1, 2], [2])", True), ("sets.intersects([1], [2])", False), ("math.greatest([1, 3, 2])", 3),
    ("cel.bind(x, 3, x + x)", 6), ("self.n.all(i, v, v == i + 1)", True), ("self.m.transformList(k, v, v)", [1, 2]),
    ("self.m.transformMap(k, v, v * 2)", {"x": 2, "y": 4}), ("[[1], [2]].flatten()", [1, 2]),
    ("timestamp('2024-03-05T01:02:03Z').getMonth()", 2), ("duration('90m').getHours()", 1),
    ("string(duration('90s'))", "90s"), ("self.l.reverse()", ["b", "ab"]), ("[3, 1].sort()", [1, 3]),
])
def test_what_kubernetes_adds(source: str, wanted: Any) -> None:
    assert value(source) == wanted


@pytest.mark.parametrize(("source", "said"), [
    ("self.zzz", "no such key: zzz"), ("1 / 0", "division by zero"), ("self.n[9]", "index out of bounds: 9"),
    ("9223372036854775807 + 1", "integer overflow"), ("self.a.b", "no such overload"), ("self.s + 1",
    "no such overload"),
    ("optional.none().value()", "optional.none() dereference"), ("url('x y')", "URL parse error"),
    ("quantity('abc')", "quantities must match"), ("self.s.matches('(')", "error parsing regexp"),
    ("self.zzz || false", "no such key"), ("duration('x')", "invalid duration"), ("self.o.all(k, k)",
    "no such overload"),
])
def test_what_fails_when_it_runs(source: str, said: str) -> None:
    if source == "self.o.all(k, k)":
        assert value(source) is True
        return
    with pytest.raises(cel.CelError, match=said.replace("(", r"\(").replace(")", r"\)")):
        value(source)


@pytest.mark.parametrize("source", [
    "self.n.all(a, self.n.all(b, self.n.all(c, self.n.all(d, self.n.all(e, self.n.all(f, self.n.all(g, g > 0)))))))",
    "self.n.map(a, self.n.map(b, self.n.map(c, self.n.map(d, self.n.map(e, self.n.map(f, self.s + self.s))))))",
])
def test_no_evaluation_costs_more_than_its_budget(source: str) -> None:
    with pytest.raises(cel.BudgetExceeded):
        value(source, budget=1_000)


def test_doubling_a_text_is_paid_for() -> None:
    doubled = "cel.bind(a, 'xxxxxxxxxxxxxxxxxxxx', " + "".join(
        f"cel.bind({chr(98 + n)}, {chr(97 + n)} + {chr(97 + n)}, " for n in range(24)) + "y.size()" + ")" * 25
    with pytest.raises(cel.BudgetExceeded):
        value(doubled)


SCHEMA = {"type": "object", "properties": {
    "size": {"type": "integer"}, "share": {"type": "number"}, "name": {"type": "string"}, "port": {
        "x-kubernetes-int-or-string": True}, "since": {"type": "string", "format": "date-time"},
    "list": {"type": "array", "items": {"type": "object", "properties": {"key": {"type": "string"}}}},
    "labels": {"type": "object",
        "additionalProperties": {"type": "string"}}, "a-b": {"type": "boolean"}, "namespace": {"type": "string"}}}


@pytest.mark.parametrize(("source", "said"), [
    ("self.sise > 1", "undefined field 'sise'"), ("self.size > 'a'", "found no matching overload for '_>_'"),
    ("self.size", "must evaluate to a bool"), ("other > 1", "undeclared reference to 'other'"),
    ("self.list.all(x, x.kee == '')", "undefined field 'kee'"), ("self.name.foo()", "undeclared reference to 'foo'"),
    ("self.size && true", "found no matching overload for '_&&_'"), ("self.size ==", "Syntax error"),
    ("self.name.all(x, true)", "cannot be range of a comprehension"), ("'a", "token recognition error"),
    ("self.name == 1", "found no matching overload for '_==_'"), ("has(self.sise)", "undefined field"),
    ("size(1, 2) == 1", "found no matching overload for 'size'"), ("(" * 200 + "1" + ")" * 200 + " == 1", "too deeply"),
])
def test_what_is_refused_before_it_runs(source: str, said: str) -> None:
    with pytest.raises(cel.CompileError) as caught:
        cel.compile(source, {"self": cel.of_schema(SCHEMA)}, cel.BOOL)
    assert said in str(caught.value)


@pytest.mark.parametrize("source", [
    "self.share + 1.5 == 3.5", "self.port == 80", "self.since < timestamp('2030-01-01T00:00:00Z')", "self.a__dash__b",
    "self.labels.all(k, self.labels[k] == 'v') && self.labels.k == 'v'", "self.list.exists(x, x.key == 'one')",
    "self.share / 4.0 == 0.5", "self.list[0].key + self.name == 'onen'", "type(self.port) == int",
    "self.__namespace__ == 'x'",
])
def test_json_becomes_what_the_schema_says(source: str) -> None:
    data = {"share": 2, "port": 80, "since": "2024-01-01T00:00:00Z", "a-b": True, "namespace": "x",
        "labels": {"k": "v"}, "name": "n",
            "list": [{"key": "one"}]}
    assert cel.compile(source, {"self": cel.of_schema(SCHEMA)}, cel.BOOL).run({"self": data}, 10_000)[0] is True
