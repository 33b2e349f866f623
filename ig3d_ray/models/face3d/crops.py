"""Where the face is in an image, and the square around it that an encoder takes as input.

SMIRK was trained on squares around a face's landmarks, 1.4 times as large as these; EMOCA on squares around the 68
landmarks without the forehead, 1.1 and then 1.25 times. Both are cut from the 478 landmarks of MediaPipe's model.

Source: the two demos' cropping.
"""

import importlib.util
from typing import Any

import numpy as np
from PIL import Image

from ig3d_ray.data.representations import Representation
from ig3d_ray.errors import Ig3dError

MARGINS: dict[Representation, float] = {"smirk": 1.4, "emoca": 1.1 * 1.25}
# Of MediaPipe's mesh: jaw line and eyebrows, which bound the 68 landmarks.
_JAW = (162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389)
_BROWS = (71, 63, 105, 66, 107, 336, 296, 334, 293, 301)
CONFIDENCE = 0.1
"""SMIRK's threshold: an uncertain detection is better than no face."""
Box = tuple[float, float, float, float]


def face_box(landmarks_K2: np.ndarray, representation: Representation) -> Box:
    """The square that an encoder takes as input: left, top, right, bottom in pixels; it may reach beyond the image.

    Args:
        landmarks_K2: `[478, 2]` x and y in pixels.
    """
    seen = landmarks_K2 if representation == "smirk" else landmarks_K2[list(_JAW + _BROWS)]
    (left, top), (right, bottom) = seen.min(axis=0), seen.max(axis=0)
    half = MARGINS[representation] * ((right - left) + (bottom - top)) / 4
    x, y = (left + right) / 2, (top + bottom) / 2
    return float(x - half), float(y - half), float(x + half), float(y + half)


def cut(image: Image.Image, box: Box, size: int) -> np.ndarray:
    """A square of an image as `[3, size, size]` uint8; what lies beyond the image is black."""
    square = image.transform((size, size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    return np.asarray(square).transpose(2, 0, 1)


class LandmarkFinder:
    """MediaPipe's face landmarks; one for each process.

    Args:
        model: the bytes of its face landmarker model (a `.task` file).
        what: its name, for messages.

    Raises:
        Ig3dError: MediaPipe is not installed, or this is not its model.
    """

    def __init__(self, model: bytes, what: str) -> None:
        if importlib.util.find_spec("mediapipe") is None:
            raise Ig3dError("mediapipe is not installed, and cropping needs it: pip install 'ig3d-ray[crop]'")
        import mediapipe
        from mediapipe.tasks.python import BaseOptions, vision

        self._mediapipe: Any = mediapipe
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_buffer=model),
            num_faces=1,
            min_face_detection_confidence=CONFIDENCE,
            min_face_presence_confidence=CONFIDENCE,
        )
        try:
            self._finder: Any = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            raise Ig3dError(f"{what}: not MediaPipe's face landmarker model (face_landmarker.task)") from error

    def __call__(self, image: Image.Image) -> np.ndarray | None:
        """`[478, 2]` landmarks of the face in an RGB image, in pixels; None if no face is detected."""
        mediapipe = self._mediapipe
        pixels = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.asarray(image).copy())
        faces = self._finder.detect(pixels).face_landmarks
        if not faces:
            return None
        return np.array([(point.x * image.width, point.y * image.height) for point in faces[0]])
