"""Alarms as TensorFlow Metadata's anomalies, for tools that read TFDV's."""

from tensorflow_metadata.proto.v0 import anomalies_pb2

from recsys_tft.comparing.columns import Measured
from recsys_tft.comparing.comparison import Comparison

_REASONS = {
    "jensen_shannon": anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH,
    "infinity_norm": anomalies_pb2.AnomalyInfo.COMPARATOR_L_INFTY_HIGH,
    "missing_change": anomalies_pb2.AnomalyInfo.FEATURE_TYPE_LOW_FRACTION_PRESENT,
    "new_values": anomalies_pb2.AnomalyInfo.ENUM_TYPE_UNEXPECTED_STRING_VALUES,
}
_MEASUREMENTS = {
    "jensen_shannon": anomalies_pb2.DriftSkewInfo.Measurement.JENSEN_SHANNON_DIVERGENCE,
    "infinity_norm": anomalies_pb2.DriftSkewInfo.Measurement.L_INFTY,
}


def to_proto(comparison: Comparison, data_set: str) -> anomalies_pb2.Anomalies:
    """The alarms of one data set by column, and the distances of all of its columns."""
    anomalies = anomalies_pb2.Anomalies(anomaly_name_format=anomalies_pb2.Anomalies.SERIALIZED_PATH)
    for column in comparison.columns:
        if column.data_set != data_set:
            continue
        drift = [m for m in column.measures if m.measure in _MEASUREMENTS and m.of == "values"]
        if drift:
            info = anomalies.drift_skew_info.add()
            info.path.step.append(column.column)
            for m in drift:
                info.drift_measurements.add(type=_MEASUREMENTS[m.measure], value=m.value, threshold=m.limit or 0.0)
        if column.alarms:
            anomaly = anomalies.anomaly_info[column.column]
            anomaly.path.step.append(column.column)
            anomaly.severity = anomalies_pb2.AnomalyInfo.ERROR
            anomaly.short_description = "Drift" if len(column.alarms) == 1 else "Multiple errors"
            anomaly.description = " ".join(sentence(m) for m in column.alarms)
            for m in column.alarms:
                kind = _REASONS.get(m.measure, anomalies_pb2.AnomalyInfo.UNKNOWN_TYPE)
                anomaly.reason.add(type=kind, short_description=f"High {m.measure}", description=sentence(m))
    return anomalies


def sentence(measured: Measured) -> str:
    """The anomaly in words, with the number and the limit."""
    what = measured.measure if measured.of == "values" else f"{measured.measure} of the {measured.of}"
    return f"{what} is {measured.value:.3g}, above {measured.limit:.3g}: {measured.told}."
