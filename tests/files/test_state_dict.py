"""State dicts that PyTorch wrote, read without it."""

import base64
import lzma
import pathlib
import pickle
import zipfile

import numpy as np
import pytest

from vqvae2_tf.errors import UserError
from vqvae2_tf.files.state_dict import read_state_dict

pytestmark = pytest.mark.any_backend

# Written by torch 2.14.1, in its zip archive and in the format before 1.6: an
# OrderedDict with a = arange(6).reshape(2, 3) in float32, b.weight = arange(12)
# .reshape(3, 4).T[1:], n = tensor(7), whole = arange(4) in float64, shared =
# whole[2:], half = [0.5, -2] in float16, and a Parameter [1.5].
FILES = {
    "archive": (
        "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4AskA6BdACgSvGAn5w2LqFIxa3I64BZLTK"
        "p1/p4Sog3fWmfx2wR2LvBiT7M4FYJuumZTQQcw+wBWuWLGczNyTpRVjv/GTMEaUR0i"
        "M8S6USo0CW/aL1KodwZYIrA6PBLLaSM1h+D8LyY5Fx87zVau4nr+IixBtDnsxNMoNC"
        "D9ywp7yhOlVMkUJzuNtVTcJ34GZ2gmnlS3Qzj/4pz6OJAKplUhSSxK0ekeXsKHBjxN"
        "SJfhnGWpNV1JOPYdGNfnEDkVEtB5wt/W3UZumG2xn8ue2B1mTRe9dTX0rR6SNoSbCd"
        "9FgOjTxeEN1W/r5CiK3W7ag5xd3A2hM3I5KB1iXGiTj1HJXQqJ1TeDHiNcVnyTE0mC"
        "wqe0XQuz3XIWudTEpOVtXL9F8t+NrePemoq3iHeWV70RNHmrgjjCYyy2+zts5x0axC"
        "8lNewk+GUeW1P5b3RLqxh0/f8pBgflCdCJRgjwSqJEtuAuHO3rltBMajPABzKXeuEb"
        "D8jnWTLvxeV7N5d75M8l0YrNeWn2hb0Dr3D3uJaaMDy83SuuuHIX7vJ++0dpXfAwIm"
        "oEHgmFj0hcT9I0HWn4xsnT1u1LwArfL1vMXEMn90B1R9Yzq+xFRbR83vMeKqju3zBN"
        "fg3hWE/poFWZ2+4Z39bMUfHdhQzx25k8vDiwaL/IjxYSCJub8MXTdULio4LyhWJ1WZ"
        "lpHJARZusW4+MVPd8xzLsgszp7MuAec7EruY4jlSjqFgFTW1KTDrqWcD+KkAm9O/Ua"
        "YnV0+pX+0W8seMls2wf6FwgpcUNMCc6k8DICtBkf3wE2ODCfHB5fWFhRFyrYqKCqmT"
        "uzy7PM/+9HCgTVkmyheU9qsdSlP611kxiUjg24fhLJC4e2ClHH68goCNKF0fvdg2oo"
        "LBieGqSMjU7gP810VveOokGX+mu7+DQG090exXolhxfZeyjvdN+uWmD+Fe3oKLluF4"
        "e41RXDAosHpReNOJjHHFje+thTqakx6v2UtPtXbr9YOJl41EQ2WYohDOpCX4eXU9hm"
        "0Gkd7sICncBVd2k4WQyxmMRrSYV4UBb98tRbbxOdzrEo2OBCixg3SuJD6MiAnKc5Zj"
        "jpZwRq446deZmH2RUg87QaPkqXGhQYY+/MVoz3WD1Vnl7aSz1qOtgsVv8yTc6ocjW8"
        "plstl6ZEJBGlUQUF3366ml1gR02UcU01ec98kKVL1d11ASMm7TPup1+njXI12OAtAK"
        "67hYrjumxgCNoy4chPWrRLiwAACnbPQjd5ZYMAAbwHpRYAADbtY36xxGf7AgAAAAAE"
        "WVo="
    ),
    "stream": (
        "/Td6WFoAAATm1rRGAgAhARYAAAB0L+Wj4ASWAmpdAEAAjPGAJhkC1iRVPcPbH0BrQ7"
        "yM1MCLj70ioTyrljj+CWBPRZB3m+9BLXGp3OXbyPJv+z1Mk5hXxgOvmUVpblgYAXkx"
        "8zck/eSoXqbgAPNu0VIS/bFnHwA4x2rVURpMSzBamBKzRdjx9BkaUAn8Lx+dscLwfu"
        "GchPkVsGNiSptdU+Kh2o8KZ2dq5zlDQedXMbLVt4ZVAafIRDLgK2COkveghlYfxvNy"
        "2SJ2AaLsWcFwv+8OhNmsih64ond3KiPBV0r74XZJCizpuJxi0oHTRNxFOyxZvqVvOu"
        "+TssokxTe4gGaWkZqeRWg3098EDKixWAC76RmtiUDFH1Zcl0C9gE7ubsT6j9RGPhaj"
        "qdI15QRI5gxe2Cej2cqZf5vTTH17baA9OAQEOVFLZAvWPd2mhVFyP2ByE/Htu0tlpq"
        "MTAkVs4RGqwsvyImlcCwkLdsPzzUzbonip4oGbaSYlgtqUtgj4pGs4fKr4HWq6Z+Gc"
        "2WzJVPw+H/aVVmD/036VOhIroPj21Ap5fzae9H+2tfWXq4EIc1wD8c6RdUdgSMw+Gl"
        "4QCS8yq3RevmU7Ql8Dt+9OsMcl5sjW4PrkxKgUwEcagLE07bR3Pf+b6Ps7fKZ0JDuC"
        "sgxjXuK0+01+PpiD67W8bYZ336GbHKOUN51sIwIkJdsnPyT6JPrWjK4VHezjZKDFRc"
        "gbpvhFHOe3kHrSPKdvsijOJlHOggMlVICqPuUZ06ZyoWwnEGfI3AMNP8cQU/GmHeMD"
        "NtbVGdK7tvsv2Imjw859V0KFkIvEraDOGqHIEVQg8xTDw28TzOWERBwBE9HZf+zcb6"
        "XrhiZrAAAAAMGT1gOFnVfqAAGGBZcJAAD6ThrsscRn+wIAAAAABFla"
    ),
}
EXPECTED = {
    "a": np.arange(6, dtype="float32").reshape(2, 3),
    "b.weight": np.arange(12, dtype="float32").reshape(3, 4).T[1:],
    "n": np.array(7),
    "shared": np.array([2.0, 3.0]),
    "whole": np.arange(4.0),
    "half": np.array([0.5, -2], "float16"),
    "param": np.array([1.5], "float32"),
}


@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_the_arrays_are_those_that_pytorch_saved(tmp_path, text):
    path = tmp_path / "weights.pth"
    path.write_bytes(lzma.decompress(base64.b64decode(text)))
    found = read_state_dict(str(path))
    assert found.keys() == EXPECTED.keys()
    for name, value in EXPECTED.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def archive(path, pickled):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("weights/data.pkl", pickled)


def test_a_program_in_the_file_is_not_run(tmp_path):
    victim = tmp_path / "victim"
    victim.touch()

    class Program:
        def __reduce__(self):
            return __import__("os").remove, (str(victim),)

    path = tmp_path / "weights.pth"
    for write in (archive, pathlib.Path.write_bytes):
        write(path, pickle.dumps({"a": Program()}))
        with pytest.raises(UserError, match="state dict") as error:
            read_state_dict(str(path))
        assert "\n" not in str(error.value)
        assert victim.exists()


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_reported(tmp_path, name):
    data = lzma.decompress(base64.b64decode(FILES[name]))
    path = tmp_path / "weights.pth"
    path.write_bytes(data[: len(data) - 20])
    with pytest.raises(UserError, match="state dict"):
        read_state_dict(str(path))


def test_a_file_without_tensors_is_reported(tmp_path):
    path = str(tmp_path / "weights.pth")
    archive(path, pickle.dumps({"epoch": 3}, 2))
    with pytest.raises(UserError, match="tensors by name alone"):
        read_state_dict(path)
