"""`/v2/optimize`: a plan for a battery; `/v2/models`: the planner's versions. For the back office."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from litestar import Controller, get, post
from litestar.datastructures import State
from sqlalchemy.ext.asyncio import AsyncConnection

from services.chassis.application import Read, Work
from services.chassis.auth import only
from services.chassis.errors import Problem
from services.chassis.localtime import day_bounds, to_local
from services.devices.optimizer import accuracy, horizon
from services.devices.optimizer.battery import Battery
from services.devices.optimizer.errors import BadInput
from services.devices.optimizer.models import Model, levels_of
from services.devices.optimizer.planner import Answer, Planner
from services.devices.optimizer.planning import Question
from services.devices.optimizer.tariff import Tariff
from services.devices.store import devices, models
from services.devices.store.slots import clock
from services.devices.v2 import optimize_schemas as schemas
from services.devices.v2.schemas import Slot


class OptimizeV2(Controller):
    path = "/v2"
    tags = ["optimize"]
    guards = [only("backoffice")]

    @post("/optimize", status_code=200, summary="A plan: prices and expected load to what the battery does")
    async def optimize(self, state: State, read: Read, data: schemas.Question) -> schemas.Plan:
        """Reads only. Where the planner does not answer in time, the timer's rule does, and says so."""
        async with read() as connection:
            model = await _model(connection, data.version)
            battery = await _battery(connection, data)
        starts = [data.starts_at.astimezone(UTC) + timedelta(minutes=data.step_minutes * n) for n in _steps(data)]
        try:
            question = _question(battery, data)
            answer = await _planner(state).answer(question, model, starts)
        except BadInput as problem:
            raise Problem(422, str(problem)) from None
        return _shown(answer, model, starts, battery.max_power_w, data.step_minutes)

    @post("/optimize/outcomes", status_code=200, summary="What was, to judge what was expected")
    async def judge(self, state: State, read: Read, data: schemas.Outcome) -> schemas.Judged:
        async with read() as connection:
            model = await _model(connection, data.version)
        try:
            error = accuracy.error_share(data.expected_wh, data.actual_wh)
            bias = accuracy.bias_share(data.expected_wh, data.actual_wh)
        except BadInput as problem:
            raise Problem(422, str(problem)) from None
        metrics = _planner(state).metrics
        metrics.error.labels(str(model.version)).set(error)
        metrics.bias.labels(str(model.version)).set(bias)
        return schemas.Judged(round(error, 6), round(bias, 6))

    @get("/models", summary="The planner's versions, newest first")
    async def list_models(self, read: Read) -> list[schemas.Model]:
        async with read() as connection:
            return [_as_schema(model) for model in await models.newest(connection)]

    @post("/models", summary="A new version; it plans when it is activated, or asked for by number")
    async def add_model(self, work: Work, data: schemas.NewModel) -> schemas.Model:
        try:
            levels_of(data.kind, data.settings)
        except BadInput as problem:
            raise Problem(422, str(problem)) from None
        async with work() as connection:
            return _as_schema(await models.add(connection, data.kind, data.settings, data.note))

    @post("/models/{version:int}/activate", status_code=200, summary="Plan with this version from now on")
    async def activate(self, work: Work, version: int) -> schemas.Model:
        async with work() as connection:
            model = await models.activate(connection, version) if 0 < version < 2**31 else None
        if model is None:
            raise Problem(404, f"there is no version {version}")
        return _as_schema(model)


def _planner(state: State) -> Planner:
    planner: Planner = state.planner
    return planner


async def _model(connection: AsyncConnection, version: int | None) -> Model:
    if version is None:
        return await models.active(connection)
    model = await models.get(connection, version)
    if model is None:
        raise Problem(404, f"there is no version {version}")
    return model


async def _battery(connection: AsyncConnection, data: schemas.Question) -> schemas.BatteryOf:
    if (data.battery is None) == (data.device_id is None):
        raise Problem(422, "give either a battery or a device_id")
    if data.battery is not None:
        return data.battery
    device = await devices.get(connection, data.device_id or 0)
    if device is None:
        raise Problem(404, f"there is no device {data.device_id}")
    return schemas.BatteryOf(device.capacity_wh, device.max_power_w)


def _steps(data: schemas.Question) -> range:
    if not 1900 <= data.starts_at.year <= 9000:
        raise Problem(422, "starts_at must be in the years 1900 to 9000")
    return range(len(data.prices_eur_mwh))


def _question(battery: schemas.BatteryOf, data: schemas.Question) -> Question:
    return Question(
        battery=Battery(
            battery.capacity_wh / 1000,
            battery.max_power_w / 1000,
            battery.round_trip,
            battery.wear_eur_kwh,
            battery.soc_least,
            battery.soc_most,
        ),
        tariff=Tariff(data.tariff.markup_eur_kwh, data.tariff.vat_rate),
        prices=np.array(data.prices_eur_mwh, dtype=np.float64),
        load=np.array(data.load_wh, dtype=np.float64) / 1000,
        hours=data.step_minutes / 60,
        soc=data.soc,
        terminal_eur_kwh=data.terminal_eur_kwh,
    )


def _shown(answer: Answer, model: Model, starts: list[datetime], most_w: int, step: int) -> schemas.Plan:
    plan = answer.plan
    _, midnight = day_bounds(to_local(starts[0]).date())
    today = [start for start in starts if start < midnight]
    slots = horizon.slots(today, plan.power_kw[: len(today)], most_w, step)
    return schemas.Plan(
        version=model.version,
        source=answer.source,  # type: ignore[arg-type]
        reason=answer.reason,
        cost_eur=f"{plan.cost_eur:.4f}",
        idle_eur=f"{plan.idle_eur:.4f}",
        steps=[
            schemas.Step(start, round(power * 1000), round(float(soc), 4))
            for start, power, soc in zip(starts, plan.power_kw.tolist(), plan.soc.tolist(), strict=True)
        ],
        slots=[Slot(clock(s.since), clock(s.until), s.mode, s.power_w) for s in slots],  # type: ignore[arg-type]
    )


def _as_schema(model: Model) -> schemas.Model:
    return schemas.Model(model.version, model.kind, model.settings, model.note, model.active, model.created_at)
