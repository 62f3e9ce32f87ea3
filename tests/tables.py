"""A table with a column of each kind, as tests write it."""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 200


def houses(rows: int = ROWS) -> pd.DataFrame:
    """A table with a column of each kind, gaps among them, and two targets."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "area": random.normal(90, 25, rows).round(1),
            "rooms": random.integers(1, 6, rows),
            "city": random.choice(["Oslo", "Paris", "Rome"], rows),
            "built": (pd.Timestamp("1990-01-01") + pd.to_timedelta(np.arange(rows) * 7, unit="D")).astype(str),
            "price": random.normal(300, 50, rows).round(2),
            "sold": random.choice(["no", "yes"], rows),
        }
    )
    frame.loc[::7, "area"] = np.nan
    frame.loc[::9, "city"] = None
    frame.loc[::11, "price"] = np.nan
    frame.loc[::13, "sold"] = None
    return frame


def write(folder: Path, frame: pd.DataFrame | str | bytes, name: str = "houses.csv") -> Path:
    path = folder / name
    if isinstance(frame, pd.DataFrame):
        frame.to_csv(path, index=False)
    else:
        path.write_bytes(frame if isinstance(frame, bytes) else frame.encode())
    return path
