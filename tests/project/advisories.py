"""Published vulnerabilities of libraries that the lock names, and the first version without each.

A list that is kept by hand, so that the check needs no network. ``make audit`` asks the database of
the Python Packaging Advisory Database for what is newer; what it finds is entered here.
"""

from __future__ import annotations

FIXED: dict[str, tuple[str, str]] = {
    "aiohttp": ("3.12.14", "CVE-2025-53643"),
    "certifi": ("2024.7.4", "CVE-2024-39689"),
    "cryptography": ("44.0.1", "CVE-2024-12797"),
    "gitpython": ("3.1.41", "CVE-2024-22190"),
    "grpcio": ("1.55.3", "CVE-2023-4785"),
    "h11": ("0.16.0", "CVE-2025-43859"),
    "idna": ("3.7", "CVE-2024-3651"),
    "jinja2": ("3.1.6", "CVE-2025-27516"),
    "mlflow": ("3.1.0", "CVE-2025-52967"),
    "onnx": ("1.16.0", "CVE-2024-27318"),
    "orjson": ("3.9.15", "CVE-2024-27454"),
    "pillow": ("10.3.0", "CVE-2024-28219"),
    "protobuf": ("5.29.5", "CVE-2025-4565"),
    "pyarrow": ("14.0.1", "CVE-2023-47248"),
    "pydantic": ("2.4.0", "CVE-2024-3772"),
    "ray": ("2.52.0", "CVE-2025-62593"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "scikit-learn": ("1.5.0", "CVE-2024-5206"),
    "starlette": ("0.47.2", "CVE-2025-54121"),
    "tornado": ("6.5", "CVE-2025-47287"),
    "transformers": ("4.48.0", "CVE-2024-11392"),
    "urllib3": ("2.5.0", "CVE-2025-50181"),
    "werkzeug": ("3.0.6", "CVE-2024-49767"),
    "zipp": ("3.19.1", "CVE-2024-5569"),
}
