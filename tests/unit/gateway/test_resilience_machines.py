"""Laws of the resilience policies' state machines, on generated histories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.control.resilience import Breaker as Rule
from gateway.control.resilience import Outliers, Shedding
from gateway.policies.breaker import Breaker
from gateway.policies.bulkhead import Compartment
from gateway.policies.outlier import Replicas
from gateway.policies.shedding import Limiter
from tests.unit.gateway.clock import Clock

ME = "me"
CALLERS = 6
steps = st.lists(
    st.tuples(st.sampled_from(["ok", "fail", "admit", "left", "health"]), st.integers(0, CALLERS - 1), st.floats(0, 3)),
    max_size=200,
)


def breaker(clock: Clock, rule: Rule, heard: list[str] | None = None) -> Breaker:
    told = heard if heard is not None else []
    return Breaker("d", "service", rule=rule, reset=1, on_change=lambda *what: told.append(what[2]), clock=clock)


@given(steps, st.integers(1, 3))
def test_a_breaker_that_is_not_closed_has_one_probe_and_hears_nobody_else(
    history: list[tuple[str, int, float]], probes: int
) -> None:
    """Beside a model of it. Calls that are no probes are under way all the time, and end as they like."""
    clock = Clock()
    one = breaker(clock, Rule(failures=2, probes=probes))
    probe: tuple[int, float] | None = None
    for action, who, pause in history:
        clock.now += pause
        closed, state = one.closed, one.state
        mine = probe is not None and probe[0] == who
        match action:
            case "ok":
                one.success(who)
            case "fail":
                one.failure(who)
            case "left":
                one.abandoned(who)
            case "health":
                one.recovered()
                assert one.closed is closed
                continue
            case "admit":
                reset = one.reset_seconds
                if one.admit(who) and not closed:
                    assert probe is None or mine or clock.now - probe[1] > reset, "it came back, or was given up"
                    probe = (who, clock.now)
                    assert one.state == "half-open"
                continue
        if closed:
            probe = None
        elif mine:
            probe = None
            assert action != "fail" or one.state == "open"
        else:
            assert one.state == state, "only the probe decides"


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 40), st.integers(10, 90))
def test_the_rate_rule_never_opens_below_its_minimum_of_calls_and_share(
    well: list[bool], minimum: int, percent: int
) -> None:
    clock = Clock()
    one = breaker(clock, Rule(failures=10_000, failure_percent=percent, minimum=minimum, window=10))
    calls: list[tuple[float, bool]] = []
    for ok in well:
        clock.now += 0.1
        calls.append((clock.now, ok))
        if ok:
            one.success(ME)
        else:
            one.failure(ME)
        if not one.closed:
            recent = [good for at, good in calls if at >= clock.now - 10.001]
            first = next(index for index, good in enumerate(recent) if not good)
            shares = [
                (len(recent) - at, recent[at:].count(False)) for at in range(first, len(recent)) if not recent[at]
            ]
            assert any(n >= minimum and bad * 100 >= percent * n for n, bad in shares)
            return


def test_a_side_that_fails_half_of_its_calls_opens_though_never_five_in_a_row() -> None:
    clock = Clock()
    one = breaker(clock, Rule(minimum=20, failure_percent=50))
    for _ in range(200):
        clock.now += 0.01
        one.failure(ME)
        if not one.closed:
            break
        one.success(ME)
    assert not one.closed


def test_failures_far_apart_among_many_good_calls_do_not_open() -> None:
    clock = Clock()
    one = breaker(clock, Rule(minimum=20, failure_percent=50))
    for _ in range(100):
        one.failure(ME)
        for _ in range(30):
            clock.now += 0.1
            one.success(ME)
    assert one.closed


def test_probes_that_fail_come_later_and_later_up_to_eight_times_the_reset() -> None:
    clock = Clock()
    one = breaker(clock, Rule(failures=1))
    waits = []
    one.failure(ME)
    for _ in range(6):
        waits.append(one.reset_seconds)
        clock.now += one.reset_seconds
        assert one.admit(ME)
        one.failure(ME)
    assert waits == [1, 2, 4, 8, 8, 8]


def test_several_good_probes_one_after_the_other_close_it_where_the_rule_says_so() -> None:
    clock = Clock()
    one = breaker(clock, Rule(failures=1, probes=3))
    one.failure(ME)
    clock.now += 1
    for left in (2, 1, 0):
        assert one.admit(ME)
        assert not one.admit("another")
        one.success(ME)
        assert one.closed is (left == 0)


def test_a_breaker_is_costly_while_what_opened_it_were_time_outs() -> None:
    clock = Clock()
    one = breaker(clock, Rule(failures=2))
    one.failure(ME, costly=True)
    one.failure(ME, costly=True)
    assert not one.closed
    assert one.costly
    clock.now += 1
    assert one.admit(ME)
    one.success(ME)
    assert not one.costly


def test_retries_are_paid_for_by_the_calls_of_their_own_side() -> None:
    one = breaker(Clock(), Rule())
    one.budget.ratio = 0.1
    while one.may_retry():
        pass
    for _ in range(25):
        one.success(ME)
    assert [one.may_retry() for _ in range(4)] == [True, True, False, False]
    one.budget.ratio = 0
    assert not one.may_retry()


events = st.lists(
    st.tuples(st.sampled_from(["failed", "ok", "down", "up"]), st.integers(0, 3), st.floats(0, 20)), max_size=200
)


@given(st.integers(2, 4), events)
def test_somebody_can_always_be_asked_and_the_last_one_is_never_ejected(
    size: int, history: list[tuple[str, int, float]]
) -> None:
    clock = Clock()
    replicas = Replicas(size, Outliers(failures=2, seconds=5, longest=40), clock)
    up = [True] * size
    for what, who, pause in history:
        clock.now += pause
        index = who % size
        inside = [i for i in range(size) if up[i] and not replicas.is_out(i)]
        match what:
            case "failed":
                if replicas.failed(index):
                    assert [i for i in inside if i != index], "the last one that is in stays in"
            case "ok":
                replicas.succeeded(index)
            case "down":
                up[index] = False
                replicas.went_down(index)
            case "up":
                up[index] = True
                replicas.came_up(index)
        usable = replicas.usable()
        assert usable
        inside = [i for i in range(size) if up[i] and not replicas.is_out(i)]
        assert usable == (inside or [i for i in range(size) if up[i]] or list(range(size)))
        assert all(0.1 <= replicas.weight(i) <= 1 for i in range(size))


def test_ejections_grow_and_are_forgotten_after_a_good_while() -> None:
    clock = Clock()
    replicas = Replicas(2, Outliers(failures=3, seconds=5, longest=15, slow_start=0), clock)
    lasted = []
    for good_while in (1.0, 1.0, 1.0, 1000.0, 0.0):
        assert [replicas.failed(0) for _ in range(3)] == [False, False, True]
        assert replicas.usable() == [1]
        lasted.append(replicas.next_return() - clock.now)
        clock.now = replicas.next_return()
        assert replicas.usable() == [0, 1]
        clock.now += good_while
    assert lasted == [5, 10, 15, 15, 5]


def test_a_server_that_comes_back_starts_slowly() -> None:
    clock = Clock()
    replicas = Replicas(2, Outliers(slow_start=10), clock)
    assert replicas.weight(0) == 1, "the first servers start at once"
    replicas.went_down(0)
    replicas.came_up(0)
    weights = []
    for _ in range(3):
        weights.append(replicas.weight(0))
        clock.now += 5
    assert weights == [0.1, 0.5, 1.0]


class _Passenger:
    def __init__(self, compartment: Compartment, log: list[_Passenger]) -> None:
        self.compartment = compartment
        self.log = log

    def on_place(self) -> None:
        if self.compartment.enter(self) == "in":
            self.log.append(self)


@given(st.integers(1, 4), st.integers(0, 4), st.lists(st.sampled_from(["enter", "leave", "forget"]), max_size=100))
def test_a_compartment_keeps_its_bounds_and_the_order(most: int, most_waiting: int, history: list[str]) -> None:
    compartment = Compartment(most, most_waiting)
    inside: list[_Passenger] = []
    waiting: list[_Passenger] = []
    for what in history:
        match what:
            case "enter":
                one = _Passenger(compartment, inside)
                verdict = compartment.enter(one)
                if verdict == "in":
                    inside.append(one)
                elif verdict == "waits":
                    waiting.append(one)
                else:
                    assert compartment.in_flight == most
                    assert len(waiting) == most_waiting
            case "leave" if inside:
                inside.pop(0)
                compartment.leave()
                if waiting:
                    assert inside[-1] is waiting.pop(0), "who waits longest is next"
            case "forget" if waiting:
                compartment.forget(waiting.pop())
        assert compartment.in_flight == len(inside) <= most
        assert compartment.waiting == len(waiting) <= most_waiting


def serve(limiter: Limiter, clock: Clock, offered: int, latency: float, rounds: int) -> None:
    """Rounds of as many requests as are let in, all answered after `latency`."""
    for _ in range(rounds):
        tickets = []
        while len(tickets) < offered and limiter.admit(read=True):
            tickets.append(limiter.ticket())
        clock.now += latency
        for ticket in tickets:
            limiter.answered("op", latency, ticket)
            limiter.leave()


def test_the_limit_grows_while_answers_are_quick_and_the_crowd_is_there() -> None:
    clock = Clock()
    limiter = Limiter(Shedding(least=4, most=100), clock)
    serve(limiter, clock, 1000, 0.02, 400)
    assert limiter.limit == 100


def test_the_limit_does_not_grow_on_a_crowd_that_is_not_there() -> None:
    clock = Clock()
    limiter = Limiter(Shedding(least=4, most=1000), clock)
    serve(limiter, clock, 5, 0.02, 400)
    assert limiter.limit <= 32


def test_the_limit_finds_the_capacity_of_a_server_that_queues() -> None:
    """16 requests at once take 20 ms, more of them queue: latency is in proportion to the crowd."""
    clock = Clock()
    limiter = Limiter(Shedding(least=4, most=1000, tolerance=2), clock)
    serve(limiter, clock, 3, 0.02, 50)
    for _ in range(600):
        serve(limiter, clock, 1000, 0.02 * max(1.0, limiter.limit / 16), 1)
    assert 16 <= limiter.limit <= 64, "about the tolerance times its capacity"


def test_a_server_that_is_slower_for_good_gets_its_limit_back() -> None:
    clock = Clock()
    limiter = Limiter(Shedding(least=4, most=100), clock)
    serve(limiter, clock, 1000, 0.02, 300)
    serve(limiter, clock, 1000, 0.2, 60)
    assert limiter.limit < 20
    serve(limiter, clock, 1000, 0.2, 600)
    assert limiter.limit == 100


def test_writes_are_refused_later_than_reads_and_what_was_promised_an_answer_never() -> None:
    limiter = Limiter(Shedding(least=8, most=8), Clock())
    assert [limiter.admit(read=True) for _ in range(9)] == [True] * 8 + [False]
    assert [limiter.admit(read=False) for _ in range(3)] == [True, True, False]
    assert limiter.admit(read=False, promised=True)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 500), st.booleans()), max_size=300))
def test_the_limit_stays_within_its_bounds_whatever_is_measured(answers: list[tuple[float, int, bool]]) -> None:
    clock = Clock()
    limiter = Limiter(Shedding(least=5, most=50), clock)
    for seconds, crowd, late in answers:
        clock.now += 0.01
        if late:
            limiter.timed_out()
        else:
            limiter.answered("op", seconds, crowd)
        assert 5 <= limiter.limit <= 50
