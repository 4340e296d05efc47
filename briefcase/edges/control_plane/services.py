"""What one process of a control plane is made of."""

from __future__ import annotations

import msgspec

from briefcase.adapters.telemetry.metrics import Metrics, process_families
from briefcase.edges.control_plane.admin_tokens import AdminTokens
from briefcase.edges.control_plane.administrators import ADMIN, AUDITOR
from briefcase.edges.control_plane.archive import Archive
from briefcase.edges.control_plane.bundles import Bundles
from briefcase.edges.control_plane.convergence import Convergences
from briefcase.edges.control_plane.custody import Custody
from briefcase.edges.control_plane.database import Database
from briefcase.edges.control_plane.device_calls import DeviceCalls
from briefcase.edges.control_plane.devices import Devices
from briefcase.edges.control_plane.figures import Figures
from briefcase.edges.control_plane.key_file import KeyFile
from briefcase.edges.control_plane.publications import Publications
from briefcase.edges.control_plane.relay import Relay
from briefcase.edges.control_plane.rollouts import Rollouts
from briefcase.edges.control_plane.settings import ControlPlaneSettings
from briefcase.edges.control_plane.siblings import Siblings
from briefcase.edges.control_plane.signing_keys import Process, SigningKeys
from briefcase.edges.control_plane.uploads import Uploads
from briefcase.edges.control_plane.witness import Witness, witness_key
from briefcase.model.ports import Clock, Entropy


class Services(msgspec.Struct, frozen=True):
    """The parts that the paths ask; `compose_services` makes them."""

    clock: Clock
    entropy: Entropy
    database: Database
    keys: SigningKeys
    custody: Custody
    bundles: Bundles
    admin_tokens: AdminTokens
    siblings: Siblings
    convergences: Convergences
    figures: Figures
    metrics: Metrics
    rollouts: Rollouts
    devices: Devices
    calls: DeviceCalls
    uploads: Uploads
    publications: Publications
    relay: Relay
    archive: Archive
    witness: Witness


def compose_services(
    settings: ControlPlaneSettings,
    database: Database,
    key_file: KeyFile,
    process: Process,
    *,
    clock: Clock,
    entropy: Entropy,
) -> Services:
    """Make the parts of one process over a database.

    Args:
        settings: with the address that devices use.
        database: opened or not.
        key_file: has the keys that sign.
        process: which process this is.
        clock: the time.
        entropy: makes tokens.
    """
    keys = SigningKeys(database, key_file, process, clock)
    bundles = Bundles(database, keys, clock)
    figures, publications, metrics = Figures(), Publications(database), Metrics()
    metrics.add(lambda: figures.families(lambda: publications.waiting))
    metrics.add(process_families)
    convergences = Convergences(database)
    metrics.add(convergences.families)
    return Services(
        clock=clock,
        entropy=entropy,
        database=database,
        keys=keys,
        custody=Custody(lambda: key_file.ring.custody_secret),
        bundles=bundles,
        convergences=convergences,
        rollouts=Rollouts(database, bundles, convergences, clock),
        siblings=Siblings(database, bundles, clock),
        figures=figures,
        metrics=metrics,
        admin_tokens=AdminTokens(
            database, bundles, clock, entropy, {ADMIN: settings.admin_token, AUDITOR: settings.auditor_token}
        ),
        devices=Devices(database, clock, entropy),
        calls=DeviceCalls(database, clock, settings.base_url),
        uploads=Uploads(database, figures),
        publications=publications,
        relay=Relay(database, clock, entropy),
        archive=Archive(database),
        witness=Witness(database, witness_key(key_file.ring.custody_secret), clock, settings.base_url, figures),
    )
