"""What stands on stderr while something goes on."""

from fedprobe.cli.output import Output


def test_waiting_is_a_line_where_it_may_be_one(capsys):
    with Output().waiting("measuring"):
        assert capsys.readouterr().err == "  measuring\n"
    for out, by_line in ((Output(), False), (Output(quiet=True), True), (Output(no_progress=True), True)):
        with out.waiting("measuring", by_line):
            assert capsys.readouterr() == ("", "")
