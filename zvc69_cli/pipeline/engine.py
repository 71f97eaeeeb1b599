"""Networks and tables, ready to code with: the one place where bundle, device and codec meet."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from zvc69_cli.frames import Frame, Packet, VideoFormat
from zvc69_cli.pipeline.queues import StageTime
from zvc69_cli.pipeline.timed import TimedNetworks

if TYPE_CHECKING:
    from zvc69_cli.codec.entropy.tables import CodecTables
    from zvc69_cli.codec.plan.gop import PlannedFrame
    from zvc69_cli.codec.settings import CodecSettings
    from zvc69_cli.container.layout import StreamHeader
    from zvc69_cli.runtime.bundle import Bundle
    from zvc69_cli.runtime.settings import RunSettings

_log = logging.getLogger(__name__)


class FrameClaim(Protocol):
    """What the pipeline asks of codec.picture.references.Claim."""

    @property
    def is_ready(self) -> bool: ...


class FrameEncoder(Protocol):
    """What the pipeline asks of codec.encoder.Encoder; what is between quantise and pack is the codec's own."""

    def quantise(self, planned: PlannedFrame) -> Any: ...

    def claim(self, planned: PlannedFrame) -> FrameClaim: ...

    def code(self, claim: Any) -> Any: ...

    def pack(self, quantised: Any) -> Packet: ...

    def reconstruct(self, quantised: Any) -> Frame: ...


class FrameDecoder(Protocol):
    """What the pipeline asks of codec.decoder.Decoder."""

    def parse(self, packet: Packet) -> Any: ...

    def reconstruct(self, quantised: Any) -> Frame: ...

    def claim(self, quantised: Any) -> FrameClaim: ...

    def show(self, claim: Any) -> Frame: ...

    def lose(self, packet: Packet | None) -> None: ...


class Engine(Protocol):
    """One bundle on one device."""

    @property
    def bundle_name(self) -> str: ...

    @property
    def bundle_sha256(self) -> bytes: ...

    @property
    def latent_channels(self) -> int: ...

    @property
    def hyper_channels(self) -> int: ...

    @property
    def has_inter(self) -> bool: ...

    @property
    def has_gradients(self) -> bool: ...

    @property
    def device(self) -> str: ...

    @property
    def network_times(self) -> tuple[StageTime, ...]: ...

    def encoder(self, video: VideoFormat, settings: CodecSettings) -> FrameEncoder: ...

    def decoder(self, video: VideoFormat, base_q_256: int) -> FrameDecoder: ...


class Engines(Protocol):
    """Where engines come from; tests bring a toy."""

    def for_encoding(self, run: RunSettings) -> Engine: ...

    def for_decoding(self, header: StreamHeader, run: RunSettings) -> Engine: ...


class LoadInter(Protocol):
    """Has what P and B frames need loaded, to encode them with a search of this effort, or (None) to decode alone."""

    def __call__(self, search: str | None) -> None: ...


CheckSize = Callable[[VideoFormat], None]


def _nothing_to_load(search: str | None) -> None:
    pass


def _any_size(video: VideoFormat) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledEngine:
    """An Engine of a bundle that is on this machine.

    load_inter  called before P and B frames are coded, so that nothing has to be loaded between two frames
    check_size  called before a video is coded; raises UsageError where the device cannot take its size
    """

    bundle_name: str
    bundle_sha256: bytes
    latent_channels: int
    hyper_channels: int
    device: str
    networks: TimedNetworks
    tables: CodecTables
    load_inter: LoadInter = _nothing_to_load
    check_size: CheckSize = _any_size

    @property
    def has_inter(self) -> bool:
        """Whether the bundle can predict a frame from others."""
        return self.tables.inter is not None and self.networks.has_inter

    @property
    def has_gradients(self) -> bool:
        """Whether it can say how an error changes with a latent."""
        return self.networks.has_gradients

    @property
    def network_times(self) -> tuple[StageTime, ...]:
        return self.networks.times

    def encoder(self, video: VideoFormat, settings: CodecSettings) -> FrameEncoder:
        from zvc69_cli.codec.encoder import Encoder

        self.check_size(video)
        if settings.keyint != 1:
            self.load_inter(settings.search_effort)
        return Encoder(video, settings, self.networks, self.tables)

    def decoder(self, video: VideoFormat, base_q_256: int) -> FrameDecoder:
        from zvc69_cli.codec.decoder import Decoder

        self.check_size(video)
        return Decoder(video, base_q_256, self.networks, self.tables)


class InstalledEngines:
    """The engines of the installed bundles; both methods raise UnknownBundle and RuntimeUnavailable."""

    def for_encoding(self, run: RunSettings) -> Engine:
        """The default bundle on the device asked for."""
        from zvc69_cli.runtime.bundle import find_bundle

        return load_engine(find_bundle(), run)

    def for_decoding(self, header: StreamHeader, run: RunSettings) -> Engine:
        """The bundle that the stream was made with, found by its hash."""
        from zvc69_cli.runtime.bundle import find_bundle_by_hash

        engine = load_engine(find_bundle_by_hash(header.bundle_sha256, header.bundle_name), run)
        if header.gop_frames != 1:
            engine.load_inter(None)
        return engine


def load_engine(bundle: Bundle, run: RunSettings) -> InstalledEngine:
    """A bundle's networks and tables on the device asked for.

    raises  RuntimeUnavailable, UsageError where a setting can have no effect on that device
    """
    from zvc69_cli.codec.entropy.tables import CodecTables
    from zvc69_cli.pipeline.self_test import CheckedNetworks
    from zvc69_cli.runtime.providers import check_run, choose_device

    device = choose_device(run.device)
    check_run(run, device)
    _log.info("device: %s (%s)", device.name, device.why)
    checked = CheckedNetworks(bundle, device, run)
    return InstalledEngine(
        bundle_name=bundle.name,
        bundle_sha256=bundle.sha256,
        latent_channels=bundle.latent_channels,
        hyper_channels=bundle.hyper_channels,
        device=device.name,
        networks=TimedNetworks(checked.networks),
        tables=CodecTables.from_arrays(bundle.arrays),
        load_inter=checked.load_inter,
        check_size=checked.check_size,
    )


def possible_settings(engine: Engine, settings: CodecSettings) -> CodecSettings:
    """What the engine can do of what is asked for: intra only where its bundle knows nothing else."""
    if not engine.has_inter and settings.keyint != 1:
        _log.info("bundle %s codes every frame as a keyframe", engine.bundle_name)
        settings = replace(settings, keyint=1, min_keyint=0)
    if not engine.has_gradients and settings.refine != 0:
        from zvc69_cli.codec.settings import CodecSettings

        # The usual preset refines, whatever the bundle: only who asks for something else has to know.
        level = logging.INFO if settings.refine == CodecSettings().refine else logging.WARNING
        _log.log(level, "bundle %s has no gradients: latents are not refined", engine.bundle_name)
        settings = replace(settings, refine=0)
    return settings


def plain_header(engine: Engine, video: VideoFormat, settings: CodecSettings) -> StreamHeader:
    """What the header of a stream must say, whose first frame is shown at 0: what it holds and what decodes it."""
    from zvc69_cli.codec.plan.gop import first_dts, has_b_frames
    from zvc69_cli.codec.rate.quality import base_q_256
    from zvc69_cli.container.layout import StreamHeader

    return StreamHeader(
        video=video,
        bundle_name=engine.bundle_name,
        bundle_sha256=engine.bundle_sha256,
        base_q_256=base_q_256(settings),
        gop_frames=settings.keyint,
        has_b_frames=has_b_frames(settings),
        start_pts=first_dts(0, video, settings),
        latent_channels=engine.latent_channels,
        hyper_channels=engine.hyper_channels,
        full_frame_headers=settings.frame_headers == "full",
    )
