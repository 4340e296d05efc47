"""What one process of a control plane is made of."""

from __future__ import annotations

import msgspec

from briefcase.edges.control_plane.admin_tokens import AdminTokens
from briefcase.edges.control_plane.administrators import ADMIN, AUDITOR
from briefcase.edges.control_plane.archive import Archive
from briefcase.edges.control_plane.bundles import Bundles
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.device_calls import DeviceCalls
from briefcase.edges.control_plane.devices import Devices
from briefcase.edges.control_plane.figures import Figures
from briefcase.edges.control_plane.keys import SigningKey
from briefcase.edges.control_plane.publications import Publications
from briefcase.edges.control_plane.rollouts import Rollouts
from briefcase.edges.control_plane.settings import ControlPlaneSettings
from briefcase.edges.control_plane.siblings import Siblings
from briefcase.edges.control_plane.uploads import Uploads
from briefcase.model.ports import Clock, Entropy


class Services(msgspec.Struct, frozen=True):
    """The parts that the paths ask; `compose_services` makes them."""

    clock: Clock
    entropy: Entropy
    database: Database
    key: SigningKey
    bundles: Bundles
    admin_tokens: AdminTokens
    siblings: Siblings
    figures: Figures
    rollouts: Rollouts
    devices: Devices
    calls: DeviceCalls
    uploads: Uploads
    publications: Publications
    archive: Archive


def compose_services(
    settings: ControlPlaneSettings, database: Database, key: SigningKey, clock: Clock, entropy: Entropy
) -> Services:
    """Make the parts of one process over a database.

    Args:
        settings: with the address that devices use.
        database: opened or not.
        key: signs bundles.
        clock: the time.
        entropy: makes tokens.
    """
    bundles = Bundles(database, key, clock)
    return Services(
        clock=clock,
        entropy=entropy,
        database=database,
        key=key,
        bundles=bundles,
        rollouts=Rollouts(database, bundles, clock),
        siblings=Siblings(database, bundles, key, clock),
        figures=Figures(),
        admin_tokens=AdminTokens(
            database, bundles, clock, entropy, {ADMIN: settings.admin_token, AUDITOR: settings.auditor_token}
        ),
        devices=Devices(database, clock, entropy),
        calls=DeviceCalls(database, clock, settings.base_url),
        uploads=Uploads(database),
        publications=Publications(database),
        archive=Archive(database),
    )
