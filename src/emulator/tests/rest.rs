//! Screenings and subjects as Kora documents them.

use super::*;

#[tokio::test]
async fn a_synchronous_screening_has_the_whole_result() {
    let emulator = Emulator::start().await;
    let answer = emulator
        .post("/screenings", &screening("Ada Example", "SYNC"))
        .await;
    let screening: Value = answer.json().await.unwrap();
    assert!(
        screening["screening_id"]
            .as_str()
            .unwrap()
            .starts_with("scr_")
    );
    assert!(
        screening["subject_id"]
            .as_str()
            .unwrap()
            .starts_with("subj_")
    );
    assert_eq!(screening["mode"], "SYNC");
    assert_eq!(screening["purpose"], "ONBOARDING");
    assert_eq!(screening["checks"], json!(["SANCTIONS", "PEP"]));
    for time in ["created_at", "completed_at"] {
        assert!(screening[time].as_str().unwrap().ends_with('Z'));
    }

    let path = format!(
        "/screenings/{}",
        screening["screening_id"].as_str().unwrap()
    );
    let again: Value = emulator.get(&path).await.json().await.unwrap();
    assert_eq!(again, screening);
}

#[tokio::test]
async fn a_screening_without_mode_is_synchronous_and_unknown_fields_are_accepted() {
    let emulator = Emulator::start().await;
    let mut request = screening("Ada Example", "SYNC");
    request.as_object_mut().unwrap().remove("mode");
    request["tags"] = json!(["vip"]);
    let answer = emulator.post("/screenings", &request).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap()["mode"], "SYNC");
}

#[tokio::test]
async fn an_asynchronous_screening_moves_on_with_each_look() {
    let emulator = Emulator::start().await;
    let answer = emulator
        .post("/screenings", &screening("Test PEP Person", "ASYNC"))
        .await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let receipt: Value = answer.json().await.unwrap();
    assert_eq!(receipt["status"], "PENDING");
    assert_eq!(receipt.as_object().unwrap().len(), 2);

    let path = format!("/screenings/{}", receipt["screening_id"].as_str().unwrap());
    for status in ["PENDING", "IN_PROGRESS"] {
        let screening: Value = emulator.get(&path).await.json().await.unwrap();
        assert_eq!(screening["status"], status);
        for absent in [
            "decision",
            "risk_score",
            "risk_band",
            "matches",
            "completed_at",
        ] {
            assert!(screening.get(absent).is_none(), "{absent} in {screening}");
        }
    }
    let screening: Value = emulator.get(&path).await.json().await.unwrap();
    assert_eq!(screening["status"], "COMPLETED");
    assert_eq!(screening["decision"]["outcome"], "REVIEW_REQUIRED");
    assert!(screening["completed_at"].is_string());
    assert_eq!(
        emulator.get(&path).await.json::<Value>().await.unwrap(),
        screening
    );
}

#[tokio::test]
async fn an_asynchronous_screening_can_fail() {
    let emulator = Emulator::start().await;
    let request = screening("Test Failed Screening", "ASYNC");
    let receipt: Value = emulator
        .post("/screenings", &request)
        .await
        .json()
        .await
        .unwrap();
    let path = format!("/screenings/{}", receipt["screening_id"].as_str().unwrap());
    emulator.get(&path).await;
    emulator.get(&path).await;
    let screening: Value = emulator.get(&path).await.json().await.unwrap();
    assert_eq!(screening["status"], "FAILED");
    assert!(screening.get("decision").is_none());
}

#[tokio::test]
async fn a_subject_is_created_read_and_screened_by_id() {
    let emulator = Emulator::start().await;
    let mut profile = json!({
        "type": "ENTITY",
        "name": "Test Sanctioned Entity",
        "country": "IR",
        "identifiers": [{"type": "TAX_ID", "value": "1", "country": "IR"}],
        "segment": "retail",
    });
    let answer = emulator.post("/subjects", &profile).await;
    assert_eq!(answer.status(), StatusCode::CREATED);
    let mut subject: Value = answer.json().await.unwrap();
    let id = subject["subject_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("subj_"));
    let read: Value = emulator
        .get(&format!("/subjects/{id}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(read, subject);
    let escaped = id.replace('_', "%5F");
    let read: Value = emulator
        .get(&format!("/subjects/{escaped}"))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(read, subject);

    let fields = subject.as_object_mut().unwrap();
    assert!(
        fields
            .remove("created_at")
            .unwrap()
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    assert!(
        fields
            .remove("updated_at")
            .unwrap()
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    profile["risk_band"] = "LOW".into();
    profile["subject_id"] = id.as_str().into();
    assert_eq!(subject, profile);

    let request = json!({"purpose": "PERIODIC", "checks": ["SANCTIONS"], "subject_id": id});
    let screening: Value = emulator
        .post("/screenings", &request)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(screening["subject_id"], id.as_str());
    assert_eq!(screening["decision"]["outcome"], "BLOCK");
}
