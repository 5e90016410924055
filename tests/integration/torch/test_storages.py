"""Storages on the emulated device: saving, loading, pickling and sharing its tensors."""

from __future__ import annotations

from collections.abc import Callable

Everywhere = Callable[..., list[str]]

THROUGH_A_FILE = """
def loaded(value, **options):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, **options)

def where(value, **options):
    return loaded(value, **options).device.type

there, here = torch.arange(3.0, device="mps"), torch.zeros(2)
"""


def test_what_is_saved_is_loaded_where_it_was(everywhere: Everywhere) -> None:
    told = everywhere(
        THROUGH_A_FILE + "print(where(there), where(here), where(there[1:]))\n"
        "print(loaded(there[1:]).tolist())\n"
        "both = loaded({'rows': [there, there.view(3, 1)]})['rows']\n"
        "print(both[0].data_ptr() == both[1].data_ptr(), both[1].device.type)\n"
        "layer = torch.nn.Linear(2, 1).to('mps')\n"
        "print(loaded(layer.state_dict())['weight'].is_mps, loaded(layer.weight).requires_grad)\n"
        "print(isinstance(loaded(layer, weights_only=False).weight, torch.nn.Parameter))\n"
    )
    assert told == ["mps cpu mps", "[1.0, 2.0]", "True mps", "True True", "True"]


def test_every_form_of_map_location(everywhere: Everywhere) -> None:
    told = everywhere(
        THROUGH_A_FILE
        + "for to in ('cpu', torch.device('cpu'), {'mps': 'cpu'}, {'cuda:0': 'cpu'}, lambda one, _: one):\n"
        "    print(where(there, map_location=to))\n"
        "for to in ('mps', torch.device('mps'), 'mps:0', {'cpu': 'mps'}, lambda one, _: one):\n"
        "    print(where(here, map_location=to))\n"
    )
    assert told == ["cpu", "cpu", "cpu", "mps", "cpu", "mps", "mps", "mps", "mps", "cpu"]


def test_storages_and_pickles_say_where_they_are(everywhere: Everywhere) -> None:
    told = everywhere(
        THROUGH_A_FILE + "print(there.untyped_storage().device, there.untyped_storage().nbytes())\n"
        "print(here.untyped_storage().device)\n"
        "copy = pickle.loads(pickle.dumps(there))\n"
        "print(copy.device, copy.tolist(), pickle.loads(pickle.dumps(torch.nn.Linear(1, 1).to('mps'))).bias.is_mps)\n"
    )
    assert told == ["mps:0 12", "cpu", "mps:0 [0.0, 1.0, 2.0] True"]


def test_processes_do_not_share_it(everywhere: Everywhere) -> None:
    told = everywhere(
        THROUGH_A_FILE + "from torch.multiprocessing import SimpleQueue\n"
        "queue = SimpleQueue()\n"
        "say(lambda: queue.put(there), lambda: (queue.put(here), queue.get().tolist()))\n"
    )
    assert told == ["RuntimeError: _share_filename_: only available on CPU", "(None, [0.0, 0.0])"]
