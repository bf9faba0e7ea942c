"""Curves as Slicer's own plots: a table, a series and a chart, made once and filled again."""

from __future__ import annotations

from typing import Any

import slicer
import vtk


def show_curve(title: str, points: tuple[tuple[str, float], ...]) -> Any:
    """Plot values (0..1) in order, and show the plot in the layout; returns the chart node."""
    table = _node("vtkMRMLTableNode", f"{title} (table)")
    numbers, values = vtk.vtkFloatArray(), vtk.vtkFloatArray()
    numbers.SetName("Correction")
    values.SetName("Dice")
    labels = vtk.vtkStringArray()
    labels.SetName("Case")
    for position, (case, dice) in enumerate(points, 1):
        numbers.InsertNextValue(position)
        values.InsertNextValue(dice)
        labels.InsertNextValue(case)
    filled = vtk.vtkTable()
    for column in (numbers, values, labels):
        filled.AddColumn(column)
    table.SetAndObserveTable(filled)
    series = _node("vtkMRMLPlotSeriesNode", f"{title} (series)")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName("Correction")
    series.SetYColumnName("Dice")
    series.SetLabelColumnName("Case")
    series.SetPlotType(series.PlotTypeScatter)
    series.SetMarkerStyle(series.MarkerStyleCircle)
    series.SetColor(0.18, 0.44, 0.69)
    chart = _node("vtkMRMLPlotChartNode", title)
    if not chart.HasPlotSeriesNodeID(series.GetID()):
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetTitle(title)
    chart.SetXAxisTitle("Correction")
    chart.SetYAxisTitle("Dice")
    chart.SetLegendVisibility(False)
    chart.SetYAxisRangeAuto(False)
    chart.SetYAxisRange(0.0, 1.0)
    slicer.modules.plots.logic().ShowChartInLayout(chart)
    return chart


def _node(kind: str, name: str) -> Any:
    """The node of ours of that name, made if it is not there."""
    found = slicer.mrmlScene.GetFirstNode(name, kind)
    return found if found is not None else slicer.mrmlScene.AddNewNodeByClass(kind, name)
