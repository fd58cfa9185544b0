"""The cells of recurrent networks, one file each."""

from models.cells.base import Cell, Feed, State
from models.cells.gru import GRU, TextbookGRU
from models.cells.lstm import LSTM
from models.cells.mingru import MinGRU
from models.cells.rnn import RNN, ReLURNN

__all__ = ["CELLS", "Cell", "Feed", "State"]

# A cell is known by the name that a config carries.
CELLS: dict[str, type[Cell]] = {cell.name: cell for cell in (RNN, ReLURNN, LSTM, GRU, TextbookGRU, MinGRU)}
