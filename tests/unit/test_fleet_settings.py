"""What a fleet asks of its options and of the MPI that starts it."""

from __future__ import annotations

import pytest

from iotrace.errors import UsageError
from iotrace.replay.fleet import _settings
from iotrace.replay.options import Options, check_options


def test_fewer_users_than_ranks_are_refused() -> None:
    with pytest.raises(UsageError, match="at least one user for each rank"):
        check_options(Options(users=1, ranks=2))


PIP_MPICH = (
    "MPICH Version:      5.0.2\nMPICH Device:       ch4:ucx ofi\nMPICH configure:    --with-device=ch4:ucx,ofi\n"
)


@pytest.mark.parametrize(
    ("environment", "library", "told"),
    [
        ({"SLURM_STEP_ID": "0", "PMI_FD": "11"}, PIP_MPICH, {"MPIR_CVAR_CH4_NETMOD": "ofi"}),
        ({"SLURM_STEP_ID": "0", "PMI_FD": "11", "MPIR_CVAR_CH4_NETMOD": "ucx"}, PIP_MPICH, {}),
        ({"PMI_FD": "11"}, PIP_MPICH, {}),
        ({"SLURM_STEP_ID": "0"}, PIP_MPICH, {}),
        ({"SLURM_STEP_ID": "0", "PMI_FD": "11"}, "MPICH Device:       ch4:ucx\n", {}),
        ({"SLURM_STEP_ID": "0", "PMI_FD": "11"}, "Open MPI v4.1.4, package: Debian OpenMPI\n", {}),
    ],
)
def test_an_mpich_that_srun_starts_is_told_to_use_short_addresses_and_no_other(
    environment: dict[str, str], library: str, told: dict[str, str]
) -> None:
    assert _settings(environment, library) == told
