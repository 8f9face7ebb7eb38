"""Known defects are still there: each one's smallest reproducer fails, as the ledger says; mended, it has to go from there."""


def test_known_defect(defect, reproduced):
    assert reproduced(defect) == ""
