"""Videos: their frames as photos in a folder, and pictures as a video. OpenCV's FFmpeg reads and writes them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what FFmpeg prints is no clear line

import cv2
import numpy as np

from ..errors import DataError, OutputError
from .files import write_whole
from .images import opencv_silent

USUAL_FPS = 25.0  # where a file states none, or nonsense
_QUALITY = 95
_MOST_FPS = 1000.0


class Video:
    """A video that can be read.

    Attributes:
        path: of the file.
        stated_frames: as its header has it, which may be wrong; 0 where it has none.
        fps: frames per second.

    Raises:
        DataError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with opencv_silent():
            capture = cv2.VideoCapture(str(path))
            opened = capture.isOpened()
            frames, fps = (capture.get(key) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
            capture.release()
        if not opened:
            raise DataError(f"{path}: expected a video, could not open it; it is damaged, cut, or of an unknown kind")
        self.stated_frames = int(frames) if math.isfinite(frames) and frames > 0 else 0
        self.fps = float(fps) if math.isfinite(fps) and 0 < fps <= _MOST_FPS else USUAL_FPS

    def write_frames(self, folder: Path, every: int, written: Callable[[int], object]) -> tuple[list[Path], int]:
        """Write frames as JPEG files, numbered from 0; those that are there already are kept.

        Args:
            folder: to write to; made if missing.
            every: take each so many-th frame, from the first.
            written: called with 1 after each frame of the video.

        Returns:
            The files in order, and how many frames the video has.

        Raises:
            DataError: there are none.
        """
        folder.mkdir(exist_ok=True)
        files: list[Path] = []
        count = 0
        with opencv_silent():
            capture = cv2.VideoCapture(str(self.path))
            while capture.grab():
                if count % every == 0:
                    file = folder / f"{count:06d}.jpg"
                    if not file.exists():
                        decoded, frame = capture.retrieve()
                        if not decoded or frame is None or not frame.size:
                            break
                        write_whole(file, partial(_write_jpeg, frame))
                    files.append(file)
                count += 1
                written(1)
            capture.release()
        if not files:
            raise DataError(f"{self.path}: expected a video with frames, could not read any")
        return files, count


def _write_jpeg(frame: np.ndarray, part: Path) -> None:
    part.write_bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes())


def write_video(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """Write pictures as an MPEG-4 video; odd sizes get one more row or column, which the encoding needs.

    Args:
        path: of the file, which ends in .mp4.
        pictures: (H, W, 3) uint8 RGB, all of one size; at least one.
        fps: frames per second.

    Raises:
        OutputError: OpenCV cannot encode here.
    """
    write_whole(path, lambda part: _encode(part, path, pictures, fps))


def _encode(part: Path, path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    writer = cv2.VideoWriter()
    with opencv_silent():
        for picture in pictures:
            height, width = picture.shape[:2]
            even = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            if not writer.isOpened():
                size_wh = (even.shape[1], even.shape[0])
                if not writer.open(str(part), cv2.VideoWriter.fourcc(*"mp4v"), fps, size_wh):
                    raise OutputError(f"{path}: could not write a video, this OpenCV has no encoder for MPEG-4")
            writer.write(np.ascontiguousarray(even[:, :, ::-1]))
        writer.release()
