"""The demo shard of text: prose of docstrings, one user a module, from whatever is installed."""

import h5py
import pytest

from fedprobe.clients.data import demo_text
from fedprobe.clients.data.checking import check
from fedprobe.clients.data.demo_text import LEAST_SENTENCES, MOST_SENTENCES, write_demo_text
from fedprobe.clients.data.shards import open_dataset
from fedprobe.clients.text import TextFormat
from fedprobe.errors import RequestError


def prose(module: str, sentences: int) -> str:
    """A module with `sentences` sentences in its docstrings, each once, over two lines, beside what is no prose."""
    said = "\n".join(f"This is number {number}\nof {module}, isn't it?" for number in range(sentences - 1))
    function = 'def f():\n    "Give it back, please."\n    return "This is no docstring."\n'
    return f'"""{said}\n\n>>> x = [1]\n\n    table | of | things"""\n{function}'


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """An interpreter with four modules of prose, two in the standard library, and what is to be passed over."""
    modules = {
        "stdlib/b/inner.py": prose("inner", LEAST_SENTENCES),
        "stdlib/c.py": prose("c", LEAST_SENTENCES + 5),
        "stdlib/few.py": prose("few", LEAST_SENTENCES - 1),
        "stdlib/test/t.py": prose("t", 50),
        "stdlib/site-packages/s.py": prose("s", 50),
        "stdlib/twice.py": f'"""{"Always the same sentence. " * 50}"""',
        "stdlib/broken.py": "def f(:",
        "stdlib/empty.py": "",
        "stdlib/notes.txt": "This is a sentence. " * 50,
        "packages/a.py": prose("a", MOST_SENTENCES + 30),
        "packages/a_tests/z.py": prose("z", LEAST_SENTENCES),
        "packages/x/tests/t.py": prose("t", 50),
        "packages/x/_vendor/v.py": prose("v", 50),
    }
    for name, content in modules.items():
        path = tmp_path / "python" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "python/stdlib/bytes.py").write_bytes(b'"""\xff\xfe\x00"""')

    class Interpreter:
        @staticmethod
        def get_path(name: str) -> str:
            return str(tmp_path / "python" / {"stdlib": "stdlib", "purelib": "packages"}[name])

    monkeypatch.setattr(demo_text, "sysconfig", Interpreter)
    return tmp_path


def rows(path, column: str) -> list[list[str]]:
    with h5py.File(path) as file:
        return [user[column].asstr()[...].tolist() for user in file["examples"].values()]


def test_modules_with_enough_prose_are_users_the_standard_librarys_first(installed):
    path = installed / "s.h5"
    done = []
    assert write_demo_text(path, 4, 0, done.append) == (4, 2 * LEAST_SENTENCES + LEAST_SENTENCES + 5 + MOST_SENTENCES)
    assert done == [1, 2, 3, 4]
    texts = rows(path, "text")
    assert [len(text) for text in texts] == [LEAST_SENTENCES, LEAST_SENTENCES + 5, MOST_SENTENCES, LEAST_SENTENCES]
    for text, module in zip(texts, ("inner", "c", "a", "z"), strict=True):
        assert text[0] == f"This is number 0 of {module}, isn't it?"
        assert len(set(text)) == len(text)
        assert not any(sign in sentence for sentence in text for sign in "|>=[")
    assert texts[0][-1] == "Give it back, please."


def test_it_stops_when_there_are_enough_users_and_sentences(installed):
    assert write_demo_text(installed / "users.h5", 1, 0) == (1, LEAST_SENTENCES)
    assert write_demo_text(installed / "sentences.h5", 1, LEAST_SENTENCES + 1) == (2, 2 * LEAST_SENTENCES + 5)


def test_tokens_are_the_words_of_the_text_and_can_be_checked(installed):
    write_demo_text(installed / "s.h5", 4, 0)
    tokens = open_dataset([installed / "s.h5"])
    text = open_dataset([installed / "s.h5"], text=TextFormat("text", "words"))
    assert tokens.columns == ("text", "tokens") and check(tokens) == check(text) == {}
    for user in range(4):
        assert tokens.sentences(user) == text.sentences(user)
    assert tokens.sentences(0)[0] == "this is number 0 of inner , isn't it ?".split()
    assert tokens.examples.min() >= LEAST_SENTENCES


def test_the_same_interpreter_gives_the_same_text(installed):
    for name in ("one", "other"):
        write_demo_text(installed / f"{name}.h5", 3, 0)
    assert open_dataset([installed / "one.h5"]).users == open_dataset([installed / "other.h5"]).users
    for column in ("text", "tokens"):
        assert rows(installed / "one.h5", column) == rows(installed / "other.h5", column)


@pytest.mark.parametrize(("users", "sentences"), [(5, 0), (1, 10_000)])
def test_where_there_is_not_enough_it_says_so_and_leaves_nothing(installed, users, sentences):
    with pytest.raises(RequestError, match="4 users only"):
        write_demo_text(installed / "out" / "s.h5", users, sentences)
    assert not list(installed.rglob("out/*"))


def test_a_shard_that_is_there_is_not_overwritten(installed):
    (installed / "s.h5").write_bytes(b"mine")
    with pytest.raises(RequestError, match="exists"):
        write_demo_text(installed / "s.h5", 1, 0)
    assert (installed / "s.h5").read_bytes() == b"mine"


def test_what_is_installed_here_is_english(tmp_path):
    users, sentences = write_demo_text(tmp_path / "s.h5", 3, 0)
    dataset = open_dataset([tmp_path / "s.h5"])
    assert (len(dataset), int(dataset.examples.sum())) == (users, sentences) and users == 3
    words = [token for user in range(3) for sentence in dataset.sentences(user) for token in sentence]
    assert words.count("the") > len(words) / 100
