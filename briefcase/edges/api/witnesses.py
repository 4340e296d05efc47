"""Witnesses of the receipt log: list them with how it goes, add and remove them, and read what they cosigned."""

from __future__ import annotations

from typing import Final, Literal

from briefcase.adapters.witness.rounds import Standing
from briefcase.core.operator.witnesses import Witness
from briefcase.core.receipts.note_keys import ALGORITHMS
from briefcase.core.wire.witnesses import (
    CosignedList,
    CosignedRecord,
    WitnessBody,
    WitnessChoice,
    WitnessList,
    WitnessRecord,
)
from briefcase.edges.api.routing import OPERATOR, READERS, Request, Route
from briefcase.edges.api.services import Services
from briefcase.model.types import US_PER_S, format_rfc3339


async def list_witnesses(services: Services, _: Request) -> WitnessList:
    """`GET /v1/witnesses`."""
    witnessing = services.witnessing
    records = [_record(witness, standing) for witness, standing in await witnessing.standings()]
    return WitnessList(records, witnessing.log.vkey, witnessing.quorum_words)


async def add_witness(services: Services, request: Request) -> WitnessRecord:
    """`POST /v1/witnesses`: a round begins at once, and this answers before it."""
    body = request.body_as(WitnessBody)
    witness = await services.operator.witnesses.add(body.url, body.key, request.principal.name)
    services.witnessing.announce()
    return _record(witness, Standing())


async def remove_witness(services: Services, request: Request) -> WitnessRecord:
    """`POST /v1/witnesses/remove`."""
    chosen = request.body_as(WitnessChoice).witness
    witness = await services.operator.witnesses.remove(chosen, request.principal.name)
    services.witnessing.announce()
    return _record(witness, Standing())


async def list_cosigned(services: Services, _: Request) -> CosignedList:
    """`GET /v1/witnesses/checkpoints`."""
    policy = services.witnessing.policy
    return CosignedList(
        [
            CosignedRecord(
                note=one.note,
                size=one.checkpoint.size,
                root_hex=one.checkpoint.root.hex(),
                by=sorted(key.label for key in one.keys),
                quorum_met=policy.is_met(one.keys),
            )
            for one in await services.witnessing.kept()
        ]
    )


def _record(witness: Witness, standing: Standing) -> WitnessRecord:
    key = witness.key
    return WitnessRecord(
        name=key.name,
        key_id=key.id.hex(),
        algorithm=ALGORITHMS[key.type],
        url=witness.url,
        vkey=witness.vkey,
        added_at=format_rfc3339(witness.added_us),
        state=_state(standing),
        size=standing.size,
        cosigned_at=_time(standing.cosigned_s),
        problem=standing.problem,
        hint=standing.hint,
    )


def _state(standing: Standing) -> Literal["new", "ok", "failing", "alarm"]:
    if standing.is_alarm:
        return "alarm"
    if standing.problem:
        return "failing"
    return "ok" if standing.size else "new"


def _time(time_s: int) -> str | None:
    return format_rfc3339(time_s * US_PER_S) if time_s else None


ROUTES: Final = (
    Route("GET", "/v1/witnesses", READERS, list_witnesses, "Witnesses of the receipt log", WitnessList),
    Route("POST", "/v1/witnesses", OPERATOR, add_witness, "Add a witness", WitnessRecord, body=WitnessBody),
    Route(
        "POST", "/v1/witnesses/remove", OPERATOR, remove_witness, "Remove a witness", WitnessRecord, body=WitnessChoice
    ),
    Route("GET", "/v1/witnesses/checkpoints", READERS, list_cosigned, "Cosigned checkpoints", CosignedList),
)
