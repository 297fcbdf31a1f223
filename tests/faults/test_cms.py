"""The CMS is away, hangs, or comes and goes."""

from alerts import away, turned_away
from sizes import modes
from trial import Trial


@modes("defer", "reject")
def test_killed_and_restarted(mode, size, cms, server, row):
    """The CMS is killed under load, and comes back."""
    with Trial(server(cms, mode, size.refused), [cms], size.devices) as trial:
        trial.warm_up()
        cms.stop()
        trial.load(size.seconds)
        cms.start()
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("CMS killed and restarted under load"), away(mode))


@modes("defer", "reject")
def test_one_of_two_hangs(mode, size, make_cms, server, row):
    """The first of two endpoints takes requests and never answers."""
    first, second = make_cms(), make_cms()
    with Trial(server(first, mode, size.params, urls=[second.url]),
               [first, second], size.devices) as trial:
        trial.warm_up()
        before = second.count  # of attempts that took long on a busy machine
        assert before < first.count
        hanging = first.rule(hang=True)
        trial.load(size.seconds)
        second.wait(before + 1)
        first.remove_rule(hanging)
        trial.over()
        trial.load(size.seconds / 4)
        row(trial.end("one of two endpoints hangs"), {"EndpointAway"})


@modes("defer", "reject")
def test_both_down(mode, size, make_cms, server, row):
    """Both endpoints refuse connections."""
    both = make_cms(), make_cms()
    with Trial(server(both[0], mode, size.refused, urls=[both[1].url]), both,
               size.devices) as trial:
        trial.warm_up()
        for cms in both:
            cms.stop()
        trial.load(size.seconds)
        both[1].start()
        trial.over()
        trial.load(size.seconds / 4)
        both[0].start()
        row(trial.end("both endpoints down, the second one comes back"),
            away(mode))


@modes("defer", "reject")
def test_flapping(mode, size, cms, server, row):
    """The CMS goes and comes each second."""
    period = size.pick(0.3, 1.0)
    with Trial(server(cms, mode, size.refused), [cms], size.devices) as trial:
        trial.warm_up()
        for _ in range(int(size.seconds / period / 2) + 1):
            cms.stop()
            trial.load(period)
            cms.start()
            trial.load(period)
        trial.over()
        row(trial.end(f"endpoint flaps every {period:g} s"),
            turned_away(mode) | {"CmsAway?"})
